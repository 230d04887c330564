package testenv

import (
	"os"
	"testing"
)

// Skip skips a test for lack of a privilege or a kernel feature, with the
// remedy as its words; under SYNPUNCH_REQUIRE_NETNS=1 it fails the test.
func Skip(tb testing.TB, remedy string) {
	tb.Helper()
	if os.Getenv("SYNPUNCH_REQUIRE_NETNS") == "1" {
		tb.Fatalf("SYNPUNCH_REQUIRE_NETNS=1, and this cannot run here: %s", remedy)
	}
	tb.Skip(remedy)
}
