package handoff

// Rounds is how often the drop filter was on in Install.
func (r *Repair) Rounds() int { return r.rounds }
