package rawtcp

import "syscall"

const errnoNoNet = syscall.ENONET
