// Package timing decides when a SYN has to leave and makes it leave then: the
// offset between two clocks with its error bound, the geometry of two SYNs that
// cross between two NATs, and a thread that returns from its sleep within a
// microsecond of an instant.
//
// The geometry (Path), the clock arithmetic (Offset), what two hosts can agree on with both
// (Appointment) and the calibration (Bias) are pure: they take times and return times. Thread and Discipline touch the
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
//	bias := timing.NewBias()
//	for i := range 8 { // warm the path and learn the bias, in the last 3 ms
//		th.SleepUntil(ctx, at.Add(-3*time.Millisecond+time.Duration(i)*350*time.Microsecond))
//		called := time.Now()
//		bias.Add(sendProbe().Sub(called)) // the kernel's TX stamp of a harmless packet
//	}
//	if err := th.SleepUntil(ctx, at.Add(-bias.Median())); err != nil && !errors.Is(err, timing.ErrPast) {
//		return err
//	}
//	send()
//	th.DropRealtime()
//
// # What the error is made of
//
// BenchmarkWakeError, BenchmarkSendError and BenchmarkWarmUp measure each of
// these on the machine at hand; the figures are of a virtual machine with two processors.
//
// The sleep. A thread that watches the clock returns 0.2 to 0.5 µs after the
// instant; time.Sleep returns 0.3 to 0.7 ms after it. What is left is the tail: on a busy
// machine only Realtime keeps it below milliseconds. Watching does not yield (sched_yield): a
// yielding thread comes back a time slice later, 2.5 ms in the median with both processors busy.
//
// The way from the call to the wire. A SYN sent after a sleep with nothing before it
// leaves 40 µs after the call, and 65 µs when the neighbour's address has to be
// found first; that it is the first packet of a new process adds nothing that
// can be measured. The delay falls with each packet that is sent just before, to
// 2 or 3 µs after eight, which is steady enough to be subtracted (Bias). A single probe makes things
// worse than it looks: it is cold itself, and the bias learned from it is 6 to 30 µs too long.
// A probe must be harmless to the NATs: an IP packet with a protocol number for experiments (253,
// RFC 3692) and a TTL that ends at the first router will do. A probe from elsewhere on the same
// host must not be taken for one's own.
//
// The garbage collector. Call runtime.GC well before the instant, so that no
// collection falls into it.
//
// The stamp. A packet socket sees our own packet with a stamp that the kernel takes
// when it hands the packet to the driver. SO_TIMESTAMPING on the sending socket gives
// two more for the same packet: SCHED, 0.4 to 0.5 µs earlier, and SND by the driver,
// 0.4 µs later. All three come from one clock.
package timing
