package testenv

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/synpunch/synpunch/internal/netns"
)

const (
	childEnv = "SYNPUNCH_TEST_CHILD" // set in the child to the test's name

)

// Isolate reports whether the caller is in a namespace of its own and should
// run its body. In the first process it runs the test once more as a child in
// new namespaces (lo is up, every capability is there), passes on what the
// child said, and returns false. Without the permission the test is skipped
// with the remedy, or fails under SYNPUNCH_REQUIRE_NETNS=1.
//
//	if !testenv.Isolate(t) {
//		return
//	}
func Isolate(tb testing.TB) bool {
	tb.Helper()
	if os.Getenv(childEnv) == rootName(tb) {
		if err := netns.LoopbackUp(); err != nil {
			tb.Fatal(err)
		}
		return true
	}
	switch t := tb.(type) {
	case *testing.B:
		benchmarkInChild(t)
	default:
		testInChild(tb)
	}
	return false
}

func rootName(tb testing.TB) string {
	name, _, _ := strings.Cut(tb.Name(), "/")
	return name
}

func testInChild(tb testing.TB) {
	tb.Helper()
	args := []string{"-test.v", "-test.run=^" + regexp.QuoteMeta(rootName(tb)) + "$"}
	if testing.Short() {
		args = append(args, "-test.short")
	}
	out, err := runChild(tb, args)
	tb.Log("in its own namespaces:\n" + strings.TrimRight(string(out), "\n"))
	if err != nil {
		tb.Fatal(err)
	}
	if bytes.Contains(out, []byte("\n--- SKIP: "+rootName(tb))) {
		Skip(tb, "the child process skipped it (see its words above)")
	}
	if !bytes.Contains(out, []byte("--- PASS: "+rootName(tb))) {
		tb.Fatal("the child process ran no test")
	}
}

var benchResults sync.Map // name -> []byte: the testing package calls a benchmark several times

func benchmarkInChild(b *testing.B) {
	b.Helper()
	name := rootName(b)
	out, ok := benchResults.Load(name)
	if !ok {
		args := []string{"-test.run=^$", "-test.bench=^" + regexp.QuoteMeta(name) + "$", "-test.benchmem"}
		if f := flag.Lookup("test.benchtime"); f != nil {
			args = append(args, "-test.benchtime="+f.Value.String())
		}
		text, err := runChild(b, args)
		if err != nil {
			b.Fatalf("%v\n%s", err, text)
		}
		out = text
		benchResults.Store(name, out)
	}
	report(b, out.([]byte))
}

// report copies the child's figures. A benchmark with parts prints one line a
// part; those become sub-benchmarks here.
func report(b *testing.B, out []byte) {
	sc := bufio.NewScanner(bytes.NewReader(out))
	for sc.Scan() {
		fields := strings.Fields(sc.Text())
		if len(fields) < 4 || !strings.HasPrefix(fields[0], rootName(b)) {
			continue
		}
		metrics := func(b *testing.B) {
			for range b.N {
				// The work was done in the child.
			}
			for i := 2; i+1 < len(fields); i += 2 {
				if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
					b.ReportMetric(v, fields[i+1])
				}
			}
		}
		_, part, ok := strings.Cut(fields[0], "/")
		if !ok {
			metrics(b)
			continue
		}
		b.Run(trimProcs(part), metrics)
	}
}

// trimProcs removes the -N that the child's testing package put behind a name.
func trimProcs(name string) string {
	if i := strings.LastIndexByte(name, '-'); i > 0 {
		if _, err := strconv.Atoi(name[i+1:]); err == nil {
			return name[:i]
		}
	}
	return name
}

func runChild(tb testing.TB, args []string) ([]byte, error) {
	tb.Helper()
	limit := 10 * time.Minute
	if t, ok := tb.(*testing.T); ok {
		if d, ok := t.Deadline(); ok {
			limit = time.Until(d) - time.Second
		}
	}
	args = append(args, "-test.timeout="+limit.String())
	// Flags of the tests themselves (rapid's seed, for one) reach the child too.
	flag.Visit(func(f *flag.Flag) {
		if !strings.HasPrefix(f.Name, "test.") {
			args = append(args, fmt.Sprintf("-%s=%s", f.Name, f.Value))
		}
	})
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), childEnv+"="+rootName(tb))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	netns.Isolated(cmd)
	// Pdeathsig follows the thread that starts the child, so it must live on.
	done := make(chan error, 1)
	var startErr error
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if startErr = cmd.Start(); startErr != nil {
			done <- startErr
			return
		}
		done <- cmd.Wait()
	}()
	err := <-done
	if startErr != nil {
		err = netns.StartError(startErr)
		if errors.Is(err, netns.ErrNoUserNamespace) {
			Skip(tb, err.Error())
		}
		return out.Bytes(), fmt.Errorf("start the test in namespaces of its own: %w", err)
	}
	if err != nil {
		return out.Bytes(), fmt.Errorf("the test failed in its namespaces: %w", err)
	}
	return out.Bytes(), nil
}
