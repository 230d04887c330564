// Package lanes writes what one trial of a lab looked like from all its places into
// one capture file: four interfaces, host a, the public sides of NAT a and NAT b, host b.
package lanes
