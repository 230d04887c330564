package live

func meetings([]LinkEvent) []FlowMeeting { return nil }
