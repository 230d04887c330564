//go:build !unix

package main

// descriptorLimit is how many descriptors this process may open; 0: not known.
func descriptorLimit() uint64 { return 0 }
