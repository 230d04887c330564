package live

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"testing"
)

// helperEnv makes the test binary another program: a process to run in a host.
const helperEnv = "SYNPUNCH_LAB_HELPER"

func TestMain(m *testing.M) {
	switch os.Getenv(helperEnv) {
	case "":
		os.Exit(m.Run())
	case "listen": // pumps bytes both ways with whoever connects
		ln, err := net.Listen("tcp", os.Args[1])
		if err != nil {
			fail(err)
		}
		fmt.Println("ready")
		c, err := ln.Accept()
		if err != nil {
			fail(err)
		}
		pump(c)
	case "dial":
		c, err := net.Dial("tcp", os.Args[1])
		if err != nil {
			fail(err)
		}
		fmt.Println("ready")
		pump(c)
	case "compute":
		fmt.Println("ready")
		for i := 0; ; i++ {
			sink = i
		}
	case "wait": // for the end of its input
		fmt.Println("ready")
		_, _ = io.Copy(io.Discard, os.Stdin)
	case "stock": // makes the stock attempts of a host
		if err := ServeStock(context.Background(), os.Stdin, os.Stdout); err != nil {
			fail(err)
		}
	case "lab": // builds a lab with a process in it, and waits
		helperLab()
	}
}

var sink int

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// pump sends and receives without end, until the connection ends.
func pump(c net.Conn) {
	go func() {
		_, _ = io.CopyBuffer(io.Discard, struct{ io.Reader }{c}, make([]byte, 256<<10))
	}()
	b := make([]byte, 256<<10)
	for {
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// helper starts this test binary as another program in a host, and returns once it
// is ready. It ends at the latest with the lab.
func helper(t testing.TB, h *Host, mode string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Env = append(os.Environ(), helperEnv+"="+mode)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Start(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line := make([]byte, 64)
	if n, err := stdout.Read(line); string(line[:n]) != "ready\n" {
		t.Fatalf("helper %s said %q, %v", mode, line[:n], err)
	}
	return cmd
}
