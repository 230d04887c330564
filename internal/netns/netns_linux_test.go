package netns_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/internal/netns"
	"github.com/synpunch/synpunch/internal/testenv"
)

func threadNS(t *testing.T) string {
	t.Helper()
	ns, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func TestDoRunsInsideAndOnlyThere(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	home := threadNS(t)
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var st unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &st); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("net:[%d]", st.Ino)
	// Many at once, so that the runtime has to use every thread it has.
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			err := ns.Do(func() error {
				if got := threadNS(t); got != want {
					t.Errorf("Do runs in %s, want %s", got, want)
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if got := threadNS(t); got != home {
				t.Errorf("an ordinary goroutine runs in %s, want %s", got, home)
			}
		})
	}
	wg.Wait()
	if got, err := os.Readlink("/proc/self/ns/net"); err != nil || got != home {
		t.Errorf("the process's first thread is in %s, %v", got, err)
	}
	want1 := errors.New("of fn")
	if err := ns.Do(func() error { return want1 }); err != want1 {
		t.Errorf("Do returned %v", err)
	}
}

func TestStartRunsInsideAndTellsTheEnd(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	cmd := exec.Command("readlink", "/proc/self/ns/net")
	var out strings.Builder
	cmd.Stdout = &out
	ended := make(chan struct{})
	if err := ns.Start(cmd, func() { close(ended) }); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	<-ended
	var st unix.Stat_t
	if err := unix.Fstat(ns.Fd(), &st); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("net:[%d]\n", st.Ino); out.String() != want {
		t.Errorf("it ran in %s, want %s", out.String(), want)
	}
	never := func() { t.Error("the end of a program that never started") }
	if err := ns.Start(exec.Command("/nonexistent"), never); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	if !testenv.Isolate(t) {
		return
	}
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	if err := ns.Close(); err != nil {
		t.Fatal(err)
	}
	if err := ns.Do(func() error { return nil }); err == nil {
		t.Error("Do works on a closed namespace")
	}
	if err := ns.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a second Close: %v", err)
	}
}
