package command

import (
	"strings"
	"sync/atomic"
	"time"
)

// durationBounds are the upper bounds of the buckets that commands' times are counted in. What is longer has a bucket
// of its own.
var durationBounds = [...]time.Duration{
	50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond, 5 * time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, time.Second,
}

// familyStats counts a namespace's commands of one family by their time.
type familyStats struct {
	buckets [len(durationBounds) + 1]atomic.Uint64
	nanos   atomic.Uint64
}

// familiesMax bounds the groups of commands.
const familiesMax = 24

// observe counts n commands that took so long together.
func (st *namespaceStats) observe(family, n int, took time.Duration) {
	f := st.families[family].Load()
	if f == nil {
		st.families[family].CompareAndSwap(nil, new(familyStats))
		f = st.families[family].Load()
	}
	each, i := took/time.Duration(n), 0
	for i < len(durationBounds) && each > durationBounds[i] {
		i++
	}
	f.buckets[i].Add(uint64(n))
	f.nanos.Add(uint64(max(0, took)))
}

// errorCodes are the first words of error replies that are counted apart; the last one is of all others.
var errorCodes = [...]string{
	"ERR", "BUSYKEY", "DAMAGED", "EXECABORT", "INVALIDOBJ", "LIMIT", "LOADING", "MAYBE", "MISCONF", "NOAUTH", "NOPERM", "NOPROTO", "NSREADONLY", "NSSUSPENDED",
	"READONLY", "STALEVIEW", "TRYAGAIN", "WRONGPASS", "WRONGTYPE", "other",
}

// note counts an error reply, until the namespace's counters take it over.
func (r *Reply) note(text string) {
	if r.errors == nil {
		r.errors = new([len(errorCodes)]uint32)
	}
	code, i := text, 0
	if end := strings.IndexAny(text, " \r"); end >= 0 {
		code = text[:end]
	}
	for i < len(errorCodes)-1 && errorCodes[i] != code {
		i++
	}
	r.errors[i]++
	r.failed = true
}

// forget drops the count: the replies were taken back.
func (r *Reply) forget() {
	if r.failed {
		r.failed = false
		clear(r.errors[:])
	}
}

// tally counts the error replies of a client's commands as its namespace's.
func (e *Executor) tally(s *Session) {
	if !s.Out.failed {
		return
	}
	if st := s.stats; st != nil && s.registry != nil {
		for i, n := range s.Out.errors {
			if n > 0 {
				st.errors[i].Add(uint64(n))
			}
		}
	}
	s.Out.forget()
}

// rawReply is Raw for one whole reply.
func (r *Reply) rawReply(b []byte) {
	if len(b) > 0 && b[0] == '-' {
		r.note(string(b[1:min(len(b), nameBytesMax)]))
	}
	r.Raw(b)
}
