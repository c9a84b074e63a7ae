"""An image that a host already has is neither copied nor loaded again, and a wrong archive is named."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ascend.gpustack.plugins.modules import docker_archive_info

NAME = "gpustack/gpustack:v0.7.1-npu"


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
    assert docker_archive_info.read(path) == {NAME: ["sha256:abc123"]}


def test_archive_of_docker_25_also_names_it_by_its_manifest(tmp_path):
    index = {"manifests": [{"digest": "sha256:def456", "annotations": {"io.containerd.image.name": f"docker.io/{NAME}"}}]}
    manifest = [{"Config": "blobs/sha256/abc123", "RepoTags": [NAME]}]
    path = archive(tmp_path / "a.tar.gz", {"manifest.json": manifest, "index.json": index}, "w:gz")
    assert docker_archive_info.read(path) == {NAME: ["sha256:abc123", "sha256:def456"]}


def test_archive_without_names_holds_no_image(tmp_path):
    path = archive(tmp_path / "a.tar", {"manifest.json": [{"Config": "abc.json", "RepoTags": None}]})
    assert docker_archive_info.read(path) == {}


@pytest.mark.parametrize(
    "content, words",
    [(None, "does not exist"), (b"not a tar file", "can't be read"), (b"", "can't be read")],
)
def test_bad_archive_is_named_with_the_remedy(tmp_path, content, words):
    path = tmp_path / "a.tar"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(docker_archive_info.ArchiveError, match=words) as error:
        docker_archive_info.read(str(path))
    assert str(path) in str(error.value) and "docker save" in str(error.value)


def test_tar_that_docker_did_not_make_is_refused(tmp_path):
    path = archive(tmp_path / "a.tar", {"other.json": {}})
    with pytest.raises(docker_archive_info.ArchiveError, match="no manifest.json"):
        docker_archive_info.read(path)


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
    assert held == {"path": good, "exists": True, "images": {NAME: ["sha256:abc123"]}, "error": None}
    assert (unread["path"], unread["exists"], unread["images"]) == (bad, False, {}) and unread["error"].startswith(f"{bad} does not exist")
