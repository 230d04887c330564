//go:build !unix

package stun

import "syscall"

// reuse does nothing: what SO_REUSEADDR means on Windows, taking the port from
// another program, is not what is wanted.
func reuse(string, string, syscall.RawConn) error { return nil }

func explain(err error) error { return err }
