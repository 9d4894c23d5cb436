"""Checks of files that need no program of their own to run: the systemd unit, the Dockerfile, the chart."""

import itertools
import os
import pathlib
import re
import tempfile
import tomllib

from harness import DEPLOY, KEBNE, ROOT, check, expect, run, tool

UNIT = DEPLOY / "kebne.service"
CHART = DEPLOY / "helm/kebne"
# The exposure that `systemd-analyze security` reports, times ten: 0 is none, 100 the most.
EXPOSURE_MAX = 15
# The phases of the stop after the drain (docs/operating.md#stopping).
STOP_SECONDS = 18
# The oldest and the newest Kubernetes whose schemas the chart is compared with.
KUBERNETES = ["1.25.0", "1.37.0"]


def seconds(text):
    """Returns the seconds of a duration such as `1m 15s` or `1min`."""
    units = {"s": 1, "m": 60, "min": 60, "h": 3600}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(s|min|m|h)", text))


def defaults():
    return tomllib.loads((ROOT / "config/kebne.toml").read_text())["server"]


@check("the systemd unit is valid, hardened, and waits for the drain")
def systemd():
    unit = UNIT.read_text()
    with tempfile.TemporaryDirectory() as folder:
        # The program need not be installed for the check.
        copy = pathlib.Path(folder, "kebne.service")
        copy.write_text(unit.replace("/usr/local/bin/kebne", KEBNE))
        expect(copy.read_text() != unit, "the unit does not start /usr/local/bin/kebne")
        run(tool("systemd-analyze"), "verify", copy)
        run(tool("systemd-analyze"), "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", copy)
    server = defaults()
    needed = seconds(server["lame_duck"]) + seconds(server["drain_deadline"]) + STOP_SECONDS
    given = seconds(re.search(r"^TimeoutStopSec=(.*)$", unit, re.M).group(1))
    expect(given >= needed, f"TimeoutStopSec is {given} s; a stop takes up to {needed} s")


@check("the Dockerfile has no finding of hadolint")
def dockerfile():
    run(tool("hadolint"), "--no-color", DEPLOY / "Dockerfile")
    image = (DEPLOY / "Dockerfile").read_text()
    rust = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["rust-version"]
    expect(f"\nFROM rust:{rust}-" in image, f"the image is not built with Rust {rust}")
    # The chart starts the image as what it is made for.
    chart = "".join(path.read_text() for path in (CHART / "templates").iterdir() if path.is_file())
    for line, key in [("USER 10001:10001", "runAsUser: 10001"), ("WORKDIR /var/lib/kebne", "workingDir: /var/lib/kebne"),
                      ("EXPOSE 8080", "containerPort: 8080")]:
        expect(f"\n{line}\n" in image and f"{key}\n" in chart, f"the image and the chart differ in `{line}`")


@check("the scripts have no finding of shellcheck")
def scripts():
    for path in sorted(path for path in (ROOT / "scripts").rglob("*") if path.is_file()):
        if path.read_text().startswith("#!/bin/sh"):
            run(tool("shellcheck"), "-x", "--severity=warning", path, cwd=ROOT)


def rendered(*values):
    import yaml

    arguments = itertools.chain.from_iterable(("--set", value) for value in values)
    text = run(tool("helm"), "template", "test", CHART, *arguments)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        # The schemas of Kubernetes do not have the Prometheus operator's kind.
        for version in KUBERNETES:
            run(tool("kubernetes-validate"), "--strict", "-k", version, file.name)
    return {each["kind"]: each for each in yaml.safe_load_all(text) if each and each["kind"] != "Pod"}


@check("the chart of Helm is valid in each of its forms")
def helm():
    run(tool("helm"), "lint", "--strict", CHART)
    version = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    chart = (CHART / "Chart.yaml").read_text()
    for key in ["version", "appVersion"]:
        expect(f"\n{key}: {version}\n" in chart, f"Chart.yaml: {key} is not {version}")
    plain = rendered()
    expect(set(plain) == {"ServiceAccount", "ConfigMap", "Service", "Deployment", "PodDisruptionBudget"}, f"kinds: {set(plain)}")
    whole = rendered(
        "replicas=1", "persistence.enabled=true", "secrets.OPENAI_API_KEY=secret", "existingSecret=other",
        "serviceMonitor.enabled=true", "serviceMonitor.keySecret.name=a", "serviceMonitor.keySecret.key=b",
    )
    expect({"Secret", "PersistentVolumeClaim", "ServiceMonitor"} <= set(whole), f"kinds: {set(whole)}")
    pod = plain["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    variables = {each["name"]: each["value"] for each in container["env"]}
    needed = STOP_SECONDS + sum(seconds(variables[f"KEBNE__SERVER__{name}"]) for name in ["LAME_DUCK", "DRAIN_DEADLINE"])
    given = pod["terminationGracePeriodSeconds"]
    expect(given >= needed, f"terminationGracePeriodSeconds is {given}; a stop takes up to {needed} s")
    # A gateway that is about to stop must be seen as not ready while it still serves.
    probe = container["readinessProbe"]
    noticed = probe["periodSeconds"] * probe["failureThreshold"] + probe["timeoutSeconds"]
    lame_duck = seconds(variables["KEBNE__SERVER__LAME_DUCK"])
    expect(noticed < lame_duck, f"the readiness probe needs {noticed} s, the lame duck time is {lame_duck} s")
    # The settings of the chart are those of the program.
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "kebne.toml")
        file.write_text(plain["ConfigMap"]["data"]["kebne.toml"])
        run(KEBNE, "check", "--config", file, env={**os.environ, **variables}, cwd=folder)


@check("the chart of Helm refuses values that cannot work")
def helm_refusals():
    import subprocess

    for values, word in [
        (["persistence.enabled=true"], "replicas: 1"),
        (["settings=log"], "settings"),
        (["replica=3"], "replica"),
        (["serviceMonitor.enabled=true"], "keySecret"),
    ]:
        arguments = itertools.chain.from_iterable(("--set", value) for value in values)
        done = subprocess.run([tool("helm"), "template", "test", CHART, *arguments], capture_output=True, text=True)
        expect(done.returncode != 0 and word in done.stderr, f"{values}: {done.returncode} {done.stderr}")
