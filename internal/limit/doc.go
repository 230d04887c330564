// Package limit says whether a client may have another answer now: a token
// bucket for each network, in a table of fixed size that no flood of invented
// addresses can make grow. And it bounds what a failing system call costs a server.
package limit
