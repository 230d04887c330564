package stun

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"
	"time"
)

// chunks is a connection that gives a stream in pieces.
type chunks struct {
	net.Conn
	b     []byte
	sizes []byte
}

func (c *chunks) SetReadDeadline(time.Time) error { return nil }

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.b) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(c.sizes) > 0 {
		n, c.sizes = 1+int(c.sizes[0]), c.sizes[1:]
	}
	n = copy(p, c.b[:min(n, len(c.b))])
	c.b = c.b[n:]
	return n, nil
}

// FuzzStream: messages come out of a stream as they went in, whatever the pieces.
func FuzzStream(f *testing.F) {
	m := Message{Method: Binding}
	copy(m.Transaction[:], []byte{0x21, 0x12, 0xA4, 0x42})
	one, err := m.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	m.Add(Padding, make([]byte, 600))
	two, err := m.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(append(append(append([]byte{}, one...), two...), one...), []byte{3, 100, 255, 0})
	f.Add(append(append([]byte{}, two...), 1, 2, 3), []byte{255, 255, 255})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n aaaaaaa"), []byte{})
	f.Fuzz(func(t *testing.T, b, sizes []byte) {
		s := stream{c: &chunks{b: b, sizes: sizes}}
		rest := b
		for {
			got, err := s.next(time.Second, time.Second)
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, ErrNotSTUN) && !errors.Is(err, ErrMalformed) {
					t.Fatal(err)
				}
				return
			}
			size, err := Length(rest)
			if err != nil || !bytes.Equal(got, rest[:size]) {
				t.Fatalf("got %x of %x, %v", got, rest, err)
			}
			rest = rest[size:]
			if cap(s.buf) > 2*MaxSize {
				t.Fatalf("a buffer of %d bytes", cap(s.buf))
			}
		}
	})
}

// FuzzObservation: no response of a server makes the client err in another way
// than by an error.
func FuzzObservation(f *testing.F) {
	m := Message{Class: Success, Method: Binding}
	copy(m.Transaction[:], []byte{0x21, 0x12, 0xA4, 0x42})
	m.Add(XORMappedAddress, []byte{0, 1, 1, 2, 3, 4, 5, 6})
	m.Add(Software, []byte("some\x1b[2Jthing\xff"))
	good, err := m.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	m.Class = Failure
	m.Add(ErrorCode, []byte{0, 0, 4, 20, 'n'})
	m.Add(UnknownAttributes, []byte{1})
	bad, err := m.Append(nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bad)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m Message
		if m.Parse(b) != nil {
			return
		}
		var o Observation
		err := o.read(&m)
		if err == nil && (m.Class == Failure || !o.Mapped.IsValid() || o.Mapped.Port() == 0) {
			t.Fatalf("%+v of %x", o, b)
		}
		for _, r := range o.Software {
			if r < ' ' || r == 0x7F {
				t.Fatalf("unprintable %q", o.Software)
			}
		}
	})
}
