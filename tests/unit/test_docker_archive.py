"""An image that a host already has is neither copied nor loaded again, and a wrong archive is named."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.gpustack.plugins.module_utils.docker import archive as docker_archive
from ansible_collections.ascend.gpustack.plugins.modules import docker_archive_info

NAME = "gpustack/gpustack:v0.7.1-npu"


HELD = {"images": {NAME: ["sha256:abc123"]}, "architectures": {}, "compression": None}


def archive(path, files: dict[str, object], mode: str = "w"):
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            data = json.dumps(content).encode()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return str(path)


def test_archive_of_docker_24_names_the_image_by_its_configuration(tmp_path):
    path = archive(tmp_path / "a.tar", {"manifest.json": [{"Config": "abc123.json", "RepoTags": [NAME]}]})
    assert docker_archive.read(path).images == {NAME: ["sha256:abc123"]}


def test_archive_of_docker_25_also_names_it_by_its_manifest(tmp_path):
    index = {"manifests": [{"digest": "sha256:def456", "annotations": {"io.containerd.image.name": f"docker.io/{NAME}"}}]}
    manifest = [{"Config": "blobs/sha256/abc123", "RepoTags": [NAME]}]
    path = archive(tmp_path / "a.tar.gz", {"manifest.json": manifest, "index.json": index}, "w:gz")
    assert docker_archive.read(path).images == {NAME: ["sha256:abc123", "sha256:def456"]}


def test_archive_without_names_holds_no_image(tmp_path):
    path = archive(tmp_path / "a.tar", {"manifest.json": [{"Config": "abc.json", "RepoTags": None}]})
    assert docker_archive.read(path).images == {}


def test_archive_tells_for_which_processors_its_images_are_made(tmp_path):
    """Of Docker 24, of Docker 25, of one for two processors, and of one that does not say it."""
    manifest = [
        {"Config": "a1.json", "RepoTags": [NAME]},
        {"Config": "blobs/sha256/b2", "RepoTags": ["both:1"]},
        {"Config": "blobs/sha256/b3", "RepoTags": ["both:1"]},
        {"Config": "blobs/sha256/b4", "RepoTags": ["silent:1", "silent:2"]},
        {"Config": "gone.json", "RepoTags": ["gone:1"]},
    ]
    files = {
        "a1.json": {"architecture": "arm64"},
        "blobs/sha256/b2": {"architecture": "amd64"},
        "blobs/sha256/b3": {"architecture": "aarch64"},
        "blobs/sha256/b4": {"os": "linux"},
        "manifest.json": manifest,
    }
    for name, mode in (("a.tar", "w"), ("a.tar.xz", "w:xz")):
        found = docker_archive.read(archive(tmp_path / name, files, mode))
        assert found.architectures == {NAME: ["arm64"], "both:1": ["amd64", "arm64"]}
        assert found.images["both:1"] == ["sha256:b2", "sha256:b3"]


ZSTD = pytest.mark.skipif(not shutil.which("zstd"), reason="the command zstd is not there")


@ZSTD
def test_archive_that_zstd_compressed_is_read_like_others_and_one_that_is_cut_off_is_said_to_be(tmp_path):
    path = archive(
        tmp_path / "a.tar", {"manifest.json": [{"Config": "abc123.json", "RepoTags": [NAME]}], "abc123.json": {"architecture": "arm64"}}
    )
    subprocess.run(["zstd", "-q", path], check=True)
    assert docker_archive.read(f"{path}.zst") == docker_archive.Archive({NAME: ["sha256:abc123"]}, {NAME: ["arm64"]}, "zstd")
    whole = (tmp_path / "a.tar.zst").read_bytes()
    (tmp_path / "cut.zst").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(docker_archive.ArchiveError, match="can't be read .* It may be cut off; copy it again"):
        docker_archive.read(str(tmp_path / "cut.zst"))


def test_archive_that_zstd_compressed_is_not_said_to_be_cut_off_where_there_is_no_zstd(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delattr("tarfile.TarFile.zstopen", raising=False)
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"\x28\xb5\x2f\xfd rest")
    with pytest.raises(docker_archive.ArchiveError) as error:
        docker_archive.read(str(path))
    assert str(error.value) == (
        f"{path} is compressed by zstd, and there is no command zstd to see what it holds; expected one. "
        "Install zstd where the archive is, or compress it by gzip instead."
    )


@pytest.mark.parametrize(
    "content, words",
    [(None, "does not exist"), (b"not a tar file", "can't be read"), (b"", "can't be read")],
)
def test_bad_archive_is_named_with_the_remedy(tmp_path, content, words):
    path = tmp_path / "a.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(docker_archive.ArchiveError, match=words) as error:
        docker_archive.read(str(path))
    assert str(path) in str(error.value) and "docker save" in str(error.value)


def test_tar_that_docker_did_not_make_is_refused(tmp_path):
    path = archive(tmp_path / "a.tar", {"other.json": {}})
    with pytest.raises(docker_archive.ArchiveError, match="no manifest.json"):
        docker_archive.read(path)


@pytest.mark.parametrize("missing_ok", [True, False])
def test_file_that_is_yet_to_come_is_no_failure_where_that_is_said(tmp_path, capsys, missing_ok):
    path = str(tmp_path / "none.tar")
    with patch_module_args({"path": path, "missing_ok": missing_ok}), pytest.raises(SystemExit):
        docker_archive_info.main()
    result = json.loads(capsys.readouterr().out)
    if missing_ok:
        assert (result["exists"], result["images"]) == (False, {})
    else:
        assert result["failed"] and f"{path} does not exist" in result["msg"]


def test_of_several_archives_one_that_cannot_be_read_does_not_hide_the_others(tmp_path, capsys):
    good, bad = archive(tmp_path / "a.tar", {"manifest.json": [{"Config": "abc123.json", "RepoTags": [NAME]}]}), str(tmp_path / "none.tar")
    with patch_module_args({"paths": [good, bad]}), pytest.raises(SystemExit):
        docker_archive_info.main()
    held, unread = json.loads(capsys.readouterr().out)["archives"]
    assert held == {"path": good, "exists": True, "error": None, **HELD}
    assert (unread["path"], unread["exists"], unread["images"]) == (bad, False, {}) and unread["error"].startswith(f"{bad} does not exist")
