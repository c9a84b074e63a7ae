"""In place of GPUStack's gateway: hands on what comes to the ports that clients use, and knows nothing of what it is.

Usage: gateway.py HTTP_PORT API_PORT HTTPS_PORT [arguments of gpustack start]
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import sys

import yaml

# What a gateway says while what it leads to doesn't answer.
UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


def setting(words: list[str], name: str) -> str | None:
    """As `gpustack start` takes it: from its arguments, else the environment, else the configuration file."""
    flag = f"--{name.replace('_', '-')}"
    for word, following in zip(words, [*words[1:], ""]):
        if word == flag:
            return following
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    if value := os.environ.get(f"GPUSTACK_{name.upper()}"):
        return value
    if name != "config_file" and (path := setting(words, "config_file")):
        with open(path, encoding="utf-8") as file:
            return (yaml.safe_load(file) or {}).get(name)
    return None


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", port)


async def wait_for(port: int) -> None:
    while True:
        with contextlib.suppress(OSError):
            (await connect(port))[1].close()
            return
        await asyncio.sleep(0.3)


async def main(http_port: int, api_port: int, https_port: int, words: list[str]) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, questions = await connect(api_port)
        except OSError:
            writer.write(UNAVAILABLE)
            writer.close()
            return
        await asyncio.gather(pump(reader, questions), pump(answers, writer))

    # The real one listens once the API is there.
    await wait_for(api_port)
    servers = [await asyncio.start_server(serve, "0.0.0.0", http_port)]
    certificate, key = setting(words, "ssl_certfile"), setting(words, "ssl_keyfile")
    if certificate and key:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        servers.append(await asyncio.start_server(serve, "0.0.0.0", https_port, ssl=context))
    await asyncio.gather(*(server.serve_forever() for server in servers))


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
