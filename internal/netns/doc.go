// Package netns gives a process its own user and network namespaces and runs
// code and commands inside them, without the ip program and without root.
package netns
