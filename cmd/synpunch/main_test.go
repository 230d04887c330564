package main

import (
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets the test binary be the command: under its own name for the
// scripts, and under any name for processes that a test starts in a lab, which
// have runAsCommand set.
func TestMain(m *testing.M) {
	if os.Getenv(runAsCommand) == "1" {
		main()
	}
	testscript.Main(m, map[string]func(){"synpunch": main})
}

const runAsCommand = "SYNPUNCH_TEST_RUN_AS_COMMAND"

// commandHere makes processes that this one starts from /proc/self/exe be the
// synpunch command, and returns the beginning of such a command line.
func commandHere(t testing.TB, verb string) []string {
	t.Setenv(runAsCommand, "1")
	return []string{"/proc/self/exe", verb}
}

// TestScripts runs what a person types, and checks what comes back.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{Dir: "testdata/script"})
}
