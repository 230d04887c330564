package live

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
)

// stream is the endless byte stream of a side: the same in every trial,
// different from the other side's.
func stream(name string) io.Reader {
	return rand.NewChaCha8(sha256.Sum256([]byte("synpunch trial " + name)))
}

// verifier compares what arrives with what the other side sends.
type verifier struct {
	want   io.Reader
	hash   hash.Hash // of what arrived
	n, len int64
}

func newVerifier(name string, n int64) *verifier {
	return &verifier{want: io.LimitReader(stream(name), n), hash: sha256.New(), len: n}
}

func (v *verifier) Write(p []byte) (int, error) {
	v.n += int64(len(p))
	return v.hash.Write(p)
}

// verified is the number of bytes, all of them right.
func (v *verifier) verified() (int64, error) {
	if v.n != v.len {
		return 0, fmt.Errorf("%d of %d bytes arrived", v.n, v.len)
	}
	want := sha256.New()
	if _, err := io.Copy(want, v.want); err != nil {
		return 0, err
	}
	if !bytes.Equal(want.Sum(nil), v.hash.Sum(nil)) {
		return 0, errors.New("the bytes that arrived are not those that were sent")
	}
	return v.n, nil
}
