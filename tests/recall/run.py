"""Compares the neighbours that a search by the program's indexes finds with those of faiss' IndexFlatIP."""

import subprocess
import sys
from pathlib import Path

import faiss
import numpy

DIMENSIONS = 384
QUERIES = 200
NEIGHBOURS = 10
LEAST = {"flat": 0.99, "graph": 0.95}


def clustered(random, centres, count):
    noise = random.standard_normal((count, DIMENSIONS)) * 0.6
    vectors = (centres[random.integers(len(centres), size=count)] + noise).astype("float32")
    faiss.normalize_L2(vectors)
    return vectors


def main(program, folder, count):
    random = numpy.random.default_rng(7)
    centres = random.standard_normal((max(10, count // 100), DIMENSIONS))
    vectors, queries = clustered(random, centres, count), clustered(random, centres, QUERIES)
    index = faiss.IndexFlatIP(DIMENSIONS)
    index.add(vectors)
    _, truth = index.search(queries, NEIGHBOURS)
    files = [Path(folder, name) for name in ("vectors.f32", "queries.f32")]
    for file, data in zip(files, (vectors, queries)):
        data.astype("<f4").tofile(file)
    failed = False
    for kind, least in LEAST.items():
        command = [program, kind, str(DIMENSIONS), str(NEIGHBOURS), *map(str, files)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = [[int(number) for number in line.split()] for line in output.splitlines()]
        assert len(found) == QUERIES, len(found)
        assert all(len(line) == NEIGHBOURS for line in found), "a search found too few"
        hits = sum(len(set(line) & set(known.tolist())) for line, known in zip(found, truth))
        recall = hits / (QUERIES * NEIGHBOURS)
        print(f"{kind}, {count} vectors, faiss {faiss.__version__}: recall@{NEIGHBOURS} {recall:.4f} (at least {least})")
        failed = failed or recall < least
    for file in files:
        file.unlink()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
