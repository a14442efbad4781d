package raftfsm

import (
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// FSM applies committed commands, one at a time and in log order. Its readers (State, Feed) may be
// called from any goroutine and never hold Apply up.
type FSM struct {
	codec *codec
	db    *memdb.MemDB
	state atomic.Pointer[State]
	feed  *Feed
}

// New returns an FSM with an empty state.
func New() (*FSM, error) {
	db, err := newDB()
	if err != nil {
		return nil, fmt.Errorf("make state: %w", err)
	}
	f := &FSM{codec: newCodec(), db: db, feed: newFeed()}
	f.state.Store(&State{reader: reader{db.Txn(false)}})
	return f, nil
}

// State returns the newest state.
func (f *FSM) State() *State { return f.state.Load() }

// Feed returns the recent changes.
func (f *FSM) Feed() *Feed { return f.feed }

// Apply applies the committed command at a log index. The outcome is the same on every node. An error
// (ErrUnknownCommand, ErrCorruptCommand) means that this program can't follow the log: the state is
// unchanged, and the node has to stop before it applies anything else.
func (f *FSM) Apply(index uint64, data []byte) (Outcome, error) {
	p, err := f.codec.decode(data)
	if err != nil {
		return Outcome{}, fmt.Errorf("apply index %d: %w", index, err)
	}
	state := f.state.Load()
	next := &State{revision: state.revision, applied: index, requests: state.requests, audits: state.audits}
	if index <= state.applied {
		return Outcome{}, fmt.Errorf("apply index %d after %d: %w", index, state.applied, ErrCorruptCommand)
	}
	outcome, known := state.Recall(p.RequestID, p.Digest)
	if known {
		next.reader = state.reader
		f.state.Store(next)
		return outcome, nil
	}
	t := &txn{
		reader: reader{f.db.Txn(true)}, index: index, timeMs: p.TimeMs, before: state.revision,
		delta: &atollpb.ViewFrame{FromRevision: state.revision, Revision: index, Last: true},
	}
	result, refusal := p.Command.apply(t)
	if refusal != nil {
		t.txn.Abort()
		next.reader = state.reader
		f.state.Store(next)
		return Outcome{Refusal: refusal}, nil
	}
	if !t.changed() {
		t.txn.Abort()
		next.reader = state.reader
		f.state.Store(next)
		return Outcome{Result: result}, nil
	}
	if p.RequestID != "" {
		next.requests = t.remember(state.requests, &request{id: p.RequestID, digest: p.Digest, result: result})
	}
	next.audits = t.audit(state.audits, &p)
	t.txn.Commit()
	next.revision = index
	next.reader = reader{f.db.Txn(false)}
	f.state.Store(next)
	f.feed.append(t.delta)
	return Outcome{Result: result}, nil
}

// remember adds a request to the table, dropping the oldest of a full one, and returns the table's size.
func (t *txn) remember(n int, r *request) int {
	t.insert(tableRequests, r)
	if n < RequestsMax {
		return n + 1
	}
	for oldest := range all[*request](t.reader, tableRequests, indexRevision) {
		t.delete(tableRequests, oldest)
		break
	}
	return n
}

// Restore replaces the state by the one that a snapshot holds; after an error the old one stays. The
// feed starts anew, so its readers need a full view.
func (f *FSM) Restore(r io.Reader) error {
	db, state, err := readSnapshot(r)
	if err != nil {
		return fmt.Errorf("restore snapshot: %w", err)
	}
	f.db = db
	f.state.Store(state)
	f.feed.reset(state.revision)
	return nil
}
