//go:build !linux

package rawtcp

import "syscall"

const errnoNoNet = syscall.ENETUNREACH // ENONET is Linux's own
