package handoff_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/synpunch/synpunch/handoff"
)

func init() {
	roles["activated"] = activated
	roles["replace"] = replaceSelf
}

// tcpPair is a connection over the loopback device.
func tcpPair(tb testing.TB) (a, b *net.TCPConn) {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	peer := accept(tb, l)
	tb.Cleanup(func() { peer.Close() })
	return c.(*net.TCPConn), peer.(*net.TCPConn)
}

// activated is a program that expects what inetd and systemd promise. It says
// what it finds over the socket, then echoes.
func activated() error {
	var inode [4]uint64
	for _, fd := range []int{0, 1, 3} {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return fmt.Errorf("descriptor %d: %w", fd, err)
		}
		inode[fd] = st.Ino
		flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
		if err != nil {
			return err
		}
		if flags&unix.O_NONBLOCK != 0 {
			return fmt.Errorf("descriptor %d does not block", fd)
		}
	}
	if inode[0] != inode[1] || inode[0] != inode[3] {
		return fmt.Errorf("three sockets: %v", inode)
	}
	if pid := os.Getenv("LISTEN_PID"); pid != strconv.Itoa(os.Getpid()) {
		return fmt.Errorf("LISTEN_PID %s, but this is process %d", pid, os.Getpid())
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	sockets := 0
	for _, e := range open {
		if target, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && target == fmt.Sprintf("socket:[%d]", inode[0]) {
			sockets++
		}
	}
	fmt.Printf("%s %s %d %q\n", os.Getenv("LISTEN_FDS"), os.Getenv("LISTEN_FDNAMES"), sockets, os.Args[1:])
	_, err = io.Copy(os.Stdout, os.Stdin)
	return err
}

// replaceSelf connects to the address in its environment and becomes the program.
func replaceSelf() error {
	c, err := net.Dial("tcp", os.Getenv("REPLACE_ADDR"))
	if err != nil {
		return err
	}
	if err := handoff.Replace(c.(*net.TCPConn), []string{"/does/not/exist"}, nil); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replaced by nothing: %w", err)
	}
	env := append(os.Environ(), roleEnv+"=activated")
	return handoff.Replace(c.(*net.TCPConn), []string{os.Args[0], "one two", "$HOME", ""}, &handoff.ExecConfig{Env: env})
}

// talk speaks with an activated program.
func talk(t *testing.T, c *net.TCPConn, name string) {
	t.Helper()
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("1 %s 3 [\"one two\" \"$HOME\" \"\"]\n", name)
	got := make([]byte, len(want))
	if n, err := io.ReadFull(c, got); err != nil || string(got) != want {
		t.Errorf("the program says %q (%v), want %q", got[:n], err, want)
	}
	data := pattern(1<<20, 5)
	go func() {
		c.Write(data)
		c.CloseWrite()
	}()
	echo, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(echo, data) {
		t.Errorf("%d of %d bytes came back: %v", len(echo), len(data), err)
	}
}

func TestExec(t *testing.T) {
	ours, theirs := tcpPair(t)
	cmd, err := handoff.Exec(theirs, []string{os.Args[0], "one two", "$HOME", ""}, &handoff.ExecConfig{
		Env: append(os.Environ(), roleEnv+"=activated"), Name: "punched", Dir: t.TempDir(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := theirs.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is still ours: %v", err)
	}
	talk(t, ours, "punched")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestExecFails(t *testing.T) {
	for name, argv := range map[string][]string{"nothing": nil, "empty": {""}, "missing": {"no-such-program-here"}} {
		ours, theirs := tcpPair(t)
		if _, err := handoff.Exec(theirs, argv, nil); err == nil {
			t.Errorf("%s: accepted", name)
		} else if name == "missing" && !errors.Is(err, exec.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := ours.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%s: the peer read %d bytes, %v", name, n, err)
		}
	}
}

func TestReplace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=replace", "REPLACE_ADDR="+l.Addr().String())
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := accept(t, l)
	defer c.Close()
	talk(t, c.(*net.TCPConn), "synpunch")
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestServeUnix(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	serve := func(ctx context.Context, conn *net.TCPConn) (ready chan struct{}, done chan error) {
		ready, done = make(chan struct{}), make(chan error, 1)
		go func() { done <- handoff.ServeUnix(ctx, conn, path, func() { close(ready) }) }()
		return ready, done
	}
	ours, theirs := tcpPair(t)
	ready, done := serve(t.Context(), theirs)
	<-ready
	if fi, err := os.Stat(path); err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("the socket file: %v, %v", fi.Mode(), err)
	}
	// A second one may not take the path over.
	other, _ := tcpPair(t)
	if err := handoff.ServeUnix(t.Context(), other, path, nil); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("a second ServeUnix: %v", err)
	}
	// And one who only looks gets nothing.
	for range 20 {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
	}
	got, err := handoff.ReceiveUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
	if err := exchange(ours, got, 1<<20, nil); err != nil {
		t.Error(err)
	}
	if _, err := theirs.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the connection is still ours: %v", err)
	}

	// The end of the context leaves the connection open and removes the file.
	ours, theirs = tcpPair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	ready, done = serve(ctx, theirs)
	<-ready
	why := errors.New("enough")
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("ServeUnix: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket file is still there: %v", err)
	}
	if err := exchange(ours, theirs, 1000, nil); err != nil {
		t.Error(err)
	}

	// What a killed process left is replaced, other files are not.
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	ready, done = serve(t.Context(), theirs)
	<-ready
	if got, err = handoff.ReceiveUnix(t.Context(), path); err != nil {
		t.Fatal(err)
	}
	got.Close()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := handoff.ServeUnix(t.Context(), ours, path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a plain file in the way: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "precious" {
		t.Errorf("it is now %q, %v", b, err)
	}
}

func TestReceiveUnixFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	if _, err := handoff.ReceiveUnix(t.Context(), path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nobody there: %v", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, answer := range map[string]func(*net.UnixConn){
		"nothing": func(*net.UnixConn) {},
		"no descriptor": func(c *net.UnixConn) {
			c.Write([]byte("S"))
		},
		"another descriptor": func(c *net.UnixConn) {
			c.WriteMsgUnix([]byte("S"), unix.UnixRights(0), nil)
		},
	} {
		go func() {
			c, err := l.Accept()
			if err == nil {
				answer(c.(*net.UnixConn))
				c.Close()
			}
		}()
		if c, err := handoff.ReceiveUnix(t.Context(), path); err == nil {
			c.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestJoin(t *testing.T) {
	ours, theirs := tcpPair(t)
	in, inW := io.Pipe()
	var out bytes.Buffer
	type result struct {
		sent, received int64
		err            error
	}
	done := make(chan result, 1)
	go func() {
		s, r, err := handoff.Join(t.Context(), theirs, in, &out)
		done <- result{s, r, err}
	}()
	// We end our direction first and go on receiving.
	if _, err := ours.Write(pattern(100000, 1)); err != nil {
		t.Fatal(err)
	}
	ours.CloseWrite()
	go func() {
		inW.Write(pattern(200000, 2))
		inW.Close()
	}()
	got, err := io.ReadAll(ours)
	if err != nil || !bytes.Equal(got, pattern(200000, 2)) {
		t.Errorf("received %d bytes, %v", len(got), err)
	}
	r := <-done
	if r.err != nil || r.sent != 200000 || r.received != 100000 || !bytes.Equal(out.Bytes(), pattern(100000, 1)) {
		t.Errorf("%+v, %d bytes came out", r, out.Len())
	}
}

// Join must end, and give back what it can, whatever ends it.
func TestJoinEnds(t *testing.T) {
	type half struct {
		in  io.Reader
		out io.Writer
	}
	pipe := func(t *testing.T) (r, w *os.File) {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { r.Close(); w.Close() })
		return r, w
	}
	broken := errors.New("broken")
	for _, c := range []struct {
		name string
		half func(t *testing.T) half
		act  func(ours *net.TCPConn, cancel func())
		want error
	}{
		{"reset while in blocks", func(t *testing.T) half {
			r, _ := pipe(t)
			return half{r, io.Discard}
		}, func(ours *net.TCPConn, _ func()) {
			ours.SetLinger(0)
			ours.Close()
		}, unix.ECONNRESET},
		{"context while in blocks", func(t *testing.T) half {
			r, _ := pipe(t)
			return half{r, io.Discard}
		}, func(_ *net.TCPConn, cancel func()) { cancel() }, context.Canceled},
		{"context while out blocks", func(t *testing.T) half {
			_, w := pipe(t)
			return half{strings.NewReader(""), w}
		}, func(ours *net.TCPConn, cancel func()) {
			ours.Write(make([]byte, 200000)) // more than a pipe takes
			cancel()
		}, context.Canceled},
		{"out is closed", func(t *testing.T) half {
			r, _ := pipe(t)
			r2, w := pipe(t)
			r2.Close()
			return half{r, w}
		}, func(ours *net.TCPConn, _ func()) { ours.Write([]byte("x")) }, unix.EPIPE},
		{"in breaks", func(t *testing.T) half {
			return half{io.MultiReader(strings.NewReader("some"), &brokenReader{broken}), io.Discard}
		}, func(ours *net.TCPConn, _ func()) {
			io.ReadAll(ours)
			ours.Close()
		}, broken},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := tcpPair(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			h := c.half(t)
			done := make(chan error, 1)
			go func() {
				_, _, err := handoff.Join(ctx, theirs, h.in, h.out)
				done <- err
			}()
			c.act(ours, cancel)
			if err := <-done; !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, err := theirs.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
				t.Errorf("the connection is open: %v", err)
			}
		})
	}
}

type brokenReader struct{ err error }

func (r *brokenReader) Read([]byte) (int, error) { return 0, r.err }

// The peer's last words must not be lost because our direction failed.
func TestJoinReceivesAllAfterSendFails(t *testing.T) {
	ours, theirs := tcpPair(t)
	in, inW := io.Pipe()
	var out bytes.Buffer
	done := make(chan error, 1)
	go func() {
		_, _, err := handoff.Join(t.Context(), theirs, in, &out)
		done <- err
	}()
	last := pattern(100000, 7)
	if _, err := ours.Write(last); err != nil {
		t.Fatal(err)
	}
	ours.Close() // what we send now is answered with RST
	go func() {
		for {
			if _, err := inW.Write(make([]byte, 1000)); err != nil {
				return
			}
		}
	}()
	if err := <-done; err == nil {
		t.Error("sending to nobody succeeded")
	}
	in.Close() // for the writer above
	if !bytes.Equal(out.Bytes(), last) {
		t.Errorf("%d of %d bytes came out", out.Len(), len(last))
	}
}

func TestInfo(t *testing.T) {
	a, _ := tcpPair(t)
	info, err := handoff.Info(a)
	if err != nil {
		t.Fatal(err)
	}
	if info.State != "ESTABLISHED" || info.SndMSS == 0 || info.RTT == 0 || info.Congestion == "" {
		t.Errorf("%+v", info)
	}
	a.Close()
	if _, err := handoff.Info(a); !errors.Is(err, net.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
