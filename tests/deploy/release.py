"""A release: the tarball, its bill of materials, and the checksums."""

import json
import os
import pathlib
import subprocess
import tempfile
import tomllib

from harness import KEBNE, ROOT, check, expect, run


@check("a release has a program that runs, a bill of materials of the production build, and checksums")
def release():
    with tempfile.TemporaryDirectory(prefix="kebne-release-") as folder:
        # Without its symbols the program of a test build is quick to pack.
        program = pathlib.Path(folder, "kebne")
        run("strip", "-o", program, KEBNE)
        variables = {**os.environ, "CARGO_TARGET_DIR": folder, "KEBNE": str(program)}
        run(ROOT / "scripts/release", "--draft", env=variables)
        [out] = pathlib.Path(folder).glob("release-*")
        version = out.name.removeprefix("release-")
        run("sha256sum", "--check", "--strict", "SHA256SUMS", cwd=out)
        expect((out / "SHA256SUMS").read_text().count("\n") == 2, "SHA256SUMS does not list two files")
        [tarball], [sbom] = out.glob("*.tar.gz"), out.glob("*.cdx.json")
        first = tarball.read_bytes()
        run("tar", "--extract", "--file", tarball, cwd=folder)
        home = pathlib.Path(folder, tarball.name.removesuffix(".tar.gz"))
        expect(run(home / "kebne", "--version") == f"kebne {version}\n", "the program has another version")
        for name in ["LICENSE", "README.md", "CHANGELOG.md", "kebne.toml", "man/kebne.1", "completions/kebne", "deploy/kebne.service", "deploy/helm/kebne/Chart.yaml"]:
            expect((home / name).is_file(), f"the tarball lacks {name}")
        bill = json.loads(sbom.read_text())
        parts = {each["name"]: each for each in bill["components"]}
        expect(bill["metadata"]["component"]["name"] == "kebne", "the bill is not of kebne")
        # The lab, its progress bars and the crates of tests are not in the production build.
        for name, is_part in [
            ("kebne-lane", True), ("hyper", True), ("rustls", True), ("rusqlite", True), ("serde_derive", True),
            ("kebne-lab", False), ("indicatif", False), ("proptest", False), ("kebne-tck", False), ("opentelemetry", False),
        ]:
            expect((name in parts) == is_part, f"{name} is {'missing' if is_part else 'listed'}")
        lock = {each["name"] for each in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"] if "checksum" in each}
        unchecked = [name for name, each in parts.items() if (name in lock) != bool(each.get("hashes"))]
        expect(not unchecked, f"no checksum of {unchecked}")
        rooted = next(each for each in bill["dependencies"] if each["ref"].startswith("kebne@"))
        expect(len(rooted["dependsOn"]) > 20, "the bill does not hold what kebne depends on")
        unlicensed = [each["name"] for each in bill["components"] if not each.get("licenses")]
        expect(not unlicensed, f"no licence of {unlicensed}")
        run(ROOT / "scripts/release", "--draft", env=variables)
        expect(tarball.read_bytes() == first, "the second release of the same commit has other bytes")
        refused = subprocess.run([ROOT / "scripts/release", "--drafty"], env=variables, capture_output=True, text=True)
        expect(refused.returncode == 1 and "--drafty" in refused.stderr, f"{refused.returncode} {refused.stderr}")
