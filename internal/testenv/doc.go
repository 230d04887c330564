// Package testenv gives a privileged test or benchmark its own user and
// network namespace by running it again in a child process, so that the suite
// needs no root and no test sees another's sockets, rules or addresses.
package testenv
