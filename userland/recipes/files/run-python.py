"""Runs one module of CPython's tests, or some tests of it: run-python.py RESULTS MODULE [CLASS.METHOD...].

Appends to the file RESULTS, test by test: `= MODULE: CLASS.METHOD`, then its result behind `| `: ok, FAIL, ERROR,
`skipped: WHY`, `expected failure` or `unexpected success`. What is to be said of a failure goes between the two.
"""

import faulthandler
import sys
import unittest


class Result(unittest.TestResult):
    """Reports each test when it ends. A test that failed in several parts (subTest) is one failure."""

    def __init__(self, path, module):
        super().__init__()
        self.path = path
        self.module = module
        self.current = None
        self.outcome = None

    def report(self, *lines):
        with open(self.path, "a", encoding="utf-8", errors="backslashreplace") as file:
            file.writelines(line + "\n" for line in lines)

    def name(self, test):
        return f"= {self.module}: {test.id().removeprefix(f'test.{self.module}.')}"

    def startTest(self, test):
        super().startTest(test)
        self.current = test
        self.outcome = None
        self.report(self.name(test))

    def stopTest(self, test):
        super().stopTest(test)
        self.current = None
        self.report("| " + (self.outcome or "ok"))

    def settle(self, test, outcome, details=""):
        self.report(*("  " + line for line in details.splitlines()))
        if self.current is None:
            # What prepares a class or a module.
            self.report(self.name(test), "| " + outcome)
        elif self.outcome not in ("ERROR", "FAIL"):
            self.outcome = outcome

    def addError(self, test, err):
        super().addError(test, err)
        self.settle(test, "ERROR", self.errors[-1][1])

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.settle(test, "FAIL", self.failures[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            details = (self.failures if failed else self.errors)[-1][1]
            self.settle(test, "FAIL" if failed else "ERROR", f"{subtest}\n{details}")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.settle(test, f"skipped: {reason}")

    def addExpectedFailure(self, test, err):
        super().addExpectedFailure(test, err)
        self.settle(test, "expected failure")

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.settle(test, "unexpected success")


def main(path, module, *names):
    # On a time-out run-python sends SIGABRT: the log shows where every thread was.
    faulthandler.enable()
    loader = unittest.defaultTestLoader
    if names:
        suite = loader.loadTestsFromNames([f"test.{module}.{name}" for name in names])
    else:
        suite = loader.loadTestsFromName(f"test.{module}")
    result = Result(path, module)
    suite.run(result)
    return not result.wasSuccessful()


# Interpreters that tests start (multiprocessing) import this file, too.
if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
