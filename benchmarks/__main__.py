"""Run all benchmarks, or those that are named: `python -m benchmarks training step`.

Words that begin with `--` are left to the benchmark, as in `python -m benchmarks training
--ablations`.
"""

import importlib
import pkgutil
import sys

import benchmarks


def names() -> list[str]:
    """The modules here that are benchmarks: those with a `main`."""
    modules = [m.name for m in pkgutil.iter_modules(benchmarks.__path__) if m.name[0] != "_"]
    return [n for n in modules if hasattr(importlib.import_module(f"benchmarks.{n}"), "main")]


def main() -> None:
    # Not above: a contestant in a process of its own imports this file, and should not hold torch.
    from benchmarks.machine import describe
    from whence.scale.process import tune_process

    wanted = [word for word in sys.argv[1:] if not word.startswith("--")]
    known = names()
    if "--help" in sys.argv or "-h" in sys.argv:
        print(f"{(__doc__ or '').strip()}\n\nThere are: {', '.join(known)}.")
        return
    unknown = [name for name in wanted if name not in known]
    if unknown:
        sys.exit(f"there is no benchmark {unknown[0]}: choose from {', '.join(known)}.")
    tune_process()  # as the commands do; before PyTorch
    print(describe())
    for name in wanted or known:
        module = importlib.import_module(f"benchmarks.{name}")
        title = (module.__doc__ or name).splitlines()[0]
        print(f"\n{name}: {title}")
        module.main()


if __name__ == "__main__":
    main()
