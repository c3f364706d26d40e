"""Change the files of models that others made in every way, and let all that reads them read.

Importing, generating and the chat's prompt must give an answer or one sentence, in time and within
a bound of memory. A sample runs with the tests; `python -m tests.interop.fuzz --files 2000` looks
harder. POSIX only (it forks).
"""

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from pathlib import Path

from tests.interop.test_gguf import SIZES, model
from tests.interop.theirs import TEMPLATE, byte_level, folder, theirs
from tests.runs.changes import change
from tests.runs.fuzz import use
from whence.data import text_source
from whence.data.tokenizers.imported import ImportedTokenizer
from whence.interop.gguf.writing import write_gguf
from whence.interop.importing import import_model
from whence.interop.talk.conversation import conversation_ids
from whence.models import llama_config

TEXT = text_source("beer", lambda: [f"{i} bottles of beer on the wall.\n" for i in range(60)])
TALK = [{"role": "user", "content": "Hello 2026, <|im_end|> ünïcode"}]
KINDS = ("gguf", "llama", "llama 3", "gpt2", "qwen3")


def whole(kind: str, path: Path) -> Path:
    """A sound model of a kind, with a tokenizer and a chat template; its folder."""
    if kind == "gguf":
        path.mkdir()
        file = json.loads(byte_level().to_str())
        tokens = ImportedTokenizer({"tokenizer": file, "chat_template": TEMPLATE, "ends": [2]})
        made = model(llama_config(**SIZES), tokens.vocab_size)
        write_gguf(made, tokens, path / "m.gguf", "q8_0")
        return path
    return folder(path, theirs(kind))


def read(path: Path) -> None:
    """Import a model, let it write, and write the prompt of a chat with it."""
    found = path / "m.gguf"
    run = import_model(found if found.exists() else path, path.with_name("run"), TEXT)
    run.generate("Hello 2026", temperature=0, max_tokens=2)
    conversation_ids(run.tokenizer, TALK)


def fuzz(n_files: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Change so many files, one model each; how many of each kind, and what was no clean answer."""
    draw, counts, wrong = random.Random(seed), Counter[str](), []
    with tempfile.TemporaryDirectory(prefix="fuzz ") as name:
        place = Path(name)
        sound = {kind: whole(kind, place / kind) for kind in KINDS}
        for path in sound.values():
            read(path)  # they can be read, and what torch loads lazily is loaded
            shutil.rmtree(place / "run")
        for number in range(n_files):
            kind = KINDS[number % len(KINDS)]
            path = Path(shutil.copytree(sound[kind], place / "changed" / kind))
            file = draw.choice(sorted(path.iterdir()))
            done = change(file, draw)
            counts[kind] += 1
            said = use(path, readers={"import": read})
            wrong += [f"{number}, {kind}, {file.name}: {done}: {line}" for line in said]
            shutil.rmtree(place / "changed")
    return counts, wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    counts, wrong = fuzz(arguments.files, arguments.seed)
    print("\n".join(wrong))
    print(
        f"{counts.total():,} changed files, {len(wrong):,} without an answer or a sentence in time"
    )
