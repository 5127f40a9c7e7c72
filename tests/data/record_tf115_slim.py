"""Makes tests/data/tf115_slim_outcomes.json of what tests/slim_conformance.py printed in TensorFlow 1.15.

    python tests/slim_conformance.py --untouched > outcome.txt    # TensorFlow 1.15.5, tf_slim 1.1.0, Python 3.7
    python tests/data/record_tf115_slim.py outcome.txt            # several files are joined

Tests named `test_session` are none: TensorFlow's test class inherits them to all.
"""

import json
import pathlib
import sys


def main(paths):
    passed = {}
    for path in paths:
        text = "\n" + pathlib.Path(path).read_text()
        for test in json.loads(text[text.rindex("\n{") :])["passed"]:
            module, class_name, name = test.rsplit(".", 2)
            if name != "test_session":
                passed.setdefault(module, {}).setdefault(class_name, []).append(name)
    modules = {module: {c: sorted(names) for c, names in sorted(passed[module].items())} for module in sorted(passed)}
    target = pathlib.Path(__file__).with_name("tf115_slim_outcomes.json")
    recorded = {"environment": "tensorflow 1.15.5, tf_slim 1.1.0, Python 3.7, untouched", "passed": modules}
    target.write_text(json.dumps(recorded, indent=1) + "\n")
    print(sum(len(names) for classes in modules.values() for names in classes.values()), "tests pass")


if __name__ == "__main__":
    main(sys.argv[1:])
