package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// modeEnv makes this test binary a process that Examine or a test starts.
const modeEnv = "SYNPUNCH_TEST_DOCTOR"

func TestMain(m *testing.M) {
	var err error
	switch os.Getenv(modeEnv) {
	case "inside":
		err = Inside(context.Background(), os.Stdout)
	case "examine":
		err = json.NewEncoder(os.Stdout).Encode(Examine(context.Background(), nil))
	case "fail":
		err = fmt.Errorf("no such flag")
	case "babble":
		fmt.Println("usage: nothing")
	case "hang":
		select {}
	default:
		os.Exit(m.Run())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// self is this test binary in one of its modes.
func self(mode string) func(ctx context.Context) *exec.Cmd {
	return func(ctx context.Context) *exec.Cmd {
		path, err := os.Executable()
		if err != nil {
			path = os.Args[0]
		}
		cmd := exec.CommandContext(ctx, path)
		cmd.Env = append(os.Environ(), modeEnv+"="+mode)
		return cmd
	}
}

// consistent complains about a result that contradicts itself.
func consistent(t *testing.T, r Result) {
	t.Helper()
	answers := []Answer{Yes, No, Unknown}
	for _, c := range slices.Concat(r.Checks, r.Inside) {
		if !slices.Contains(answers, c.Answer) || c.Title == "" || c.Group == "" {
			t.Errorf("check %+v", c)
		}
	}
	if !slices.Contains(answers, r.Demo) {
		t.Errorf("demo %q", r.Demo)
	}
	var first string
	for _, e := range r.Engines {
		if e.Works == Yes && first == "" {
			first = e.Engine
		}
	}
	if r.Best != first {
		t.Errorf("best is %q, the first that works is %q", r.Best, first)
	}
	if r.Version != Version || r.Machine.OS != runtime.GOOS || r.Machine.CPUs < 1 {
		t.Errorf("version %d, machine %+v", r.Version, r.Machine)
	}
}

// TestExamine looks at the machine that runs the test, whatever it is.
func TestExamine(t *testing.T) {
	r := Examine(t.Context(), &Config{Inside: self("inside")})
	var b strings.Builder
	if err := r.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + b.String())
	consistent(t, r)
	if runtime.GOOS == "linux" && r.Inside == nil && r.Demo == Yes {
		t.Error("the demo would run, but nobody has been inside")
	}
}

func TestExamineWithoutConfig(t *testing.T) {
	r := Examine(t.Context(), nil)
	consistent(t, r)
	if r.Inside != nil {
		t.Errorf("inside: %v", r.Inside)
	}
}

// A process inside that fails, talks nonsense or never ends leaves a question open.
func TestInsideGoesWrong(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("namespaces need Linux; this is " + runtime.GOOS)
	}
	if r := Examine(t.Context(), nil); r.must("user-namespace").Answer != Yes && r.must("cap-sys-admin").Answer != Yes {
		t.Skip("no namespaces here: " + strings.Join(r.must("user-namespace").Fix, "; "))
	}
	for mode, want := range map[string]string{
		"fail":   "no such flag",
		"babble": "not understood",
		"hang":   "",
	} {
		ctx := t.Context()
		if mode == "hang" {
			// A context that has ended stands for a timeout: the child is killed or never started.
			var cancel context.CancelFunc
			ctx, cancel = context.WithCancel(ctx)
			cancel()
		}
		r := Examine(ctx, &Config{Inside: self(mode)})
		consistent(t, r)
		c := r.must("demo")
		if c.Answer != Unknown || !strings.Contains(c.Detail, want) || r.Inside != nil {
			t.Errorf("%s: %+v", mode, c)
		}
	}
}

func (r *Result) must(id string) Check {
	c, _ := r.Check(id)
	return c
}
