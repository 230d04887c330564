// Package timing decides when a SYN has to leave and makes it leave then: the
// offset between two clocks with its error bound, the geometry of two SYNs that
// cross between two NATs, and a thread that returns from its sleep within a
// microsecond of an instant.
//
// The geometry (Path), the clock arithmetic (Offset) and the calibration (Bias)
// are pure: they take times and return times. Thread and Discipline touch the
// operating system. Everything builds everywhere; off Linux the thread is
// portable and less exact, and its Notes say so.
//
// # Sending at an instant
//
//	th, err := timing.OpenThread(&timing.Config{Realtime: true})
//	if err != nil {
//		return err
//	}
//	defer th.Close()
//	warmUp(send)                                  // see "Warm path"
//	err = th.SleepUntil(ctx, at.Add(-bias.Median()))
//	send()
//	th.DropRealtime()
package timing
