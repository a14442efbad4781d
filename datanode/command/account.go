package command

import "time"

// account counts executed commands that took each as long, runs of the same one at once.
func (e *Executor) account(s *Session, plan []planned, each time.Duration) {
	var last *command
	executed := 0
	for i := 0; i < len(plan); {
		n := 1
		for i+n < len(plan) && plan[i+n].cmd == plan[i].cmd && plan[i+n].kind == plan[i].kind {
			n++
		}
		switch {
		case plan[i].kind == kindQueue: // EXEC calls it
		case plan[i].kind != kindRefused:
			last, executed = plan[i].cmd, executed+n
			e.count(s, last, n, each*time.Duration(n))
		case plan[i].cmd != nil:
			e.stats.commands[plan[i].cmd.order].rejected.Add(uint64(n))
		}
		i += n
	}
	s.did(last, executed)
}

// count counts n calls of a command that took so long together.
func (e *Executor) count(s *Session, cmd *command, n int, took time.Duration) {
	st, bucket := &e.stats.commands[cmd.order], bucketOf(took/time.Duration(n))
	st.times[bucket].Add(uint64(n))
	st.micros.Add(uint64(took.Microseconds()))
	if s.stats != nil && s.registry != nil { // a forwarded command counts where its client is
		s.stats.observe(cmd.family, n, took)
		e.clock(s.stats, cmd, n, bucket)
	}
}

// did notes that the session has executed commands, of which last was the last one.
func (s *Session) did(last *command, executed int) {
	if executed == 0 {
		return
	}
	if s.stats != nil {
		s.stats.commands.Add(uint64(executed))
	}
	if s.last.Load() != last {
		s.last.Store(last)
	}
}
