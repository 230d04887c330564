package handoff_test

import (
	"fmt"
	"os"
	"testing"
)

// roleEnv makes the test binary a program for a test: the value names which.
const roleEnv = "HANDOFF_TEST_ROLE"

// roles are those programs. They report on standard error and may end the
// process; their result is the exit code.
var roles = map[string]func() error{}

func TestMain(m *testing.M) {
	if name := os.Getenv(roleEnv); name != "" {
		role, ok := roles[name]
		if !ok {
			fmt.Fprintln(os.Stderr, "no role", name)
			os.Exit(2)
		}
		if err := role(); err != nil {
			fmt.Fprintln(os.Stderr, name+":", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}
