package metadata

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
)

// operation is one of a history.
type operation interface {
	subject() string // histories of two subjects say nothing about each other
	open() bool      // its outcome is unknown: it may happen at any time after its call
	model() porcupine.Model
}

// history is what clients have seen.
type history struct {
	mu    sync.Mutex
	parts map[string][]porcupine.Operation // by subject
}

// add adds an operation with the times of its call and return.
func (h *history) add(client int, op operation, call, back time.Duration) {
	if op.open() {
		back = math.MaxInt64
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.parts == nil {
		h.parts = map[string][]porcupine.Operation{}
	}
	s := op.subject()
	h.parts[s] = append(h.parts[s], porcupine.Operation{ClientId: client, Input: op, Call: int64(call), Return: int64(back)})
}

// check returns an empty string if the history can be explained, and a part that can't otherwise.
func (h *history) check() string {
	for subject, part := range h.parts {
		got := porcupine.CheckOperationsTimeout(part[0].Input.(operation).model(), part, time.Minute)
		if got == porcupine.Ok {
			continue
		}
		var text strings.Builder
		fmt.Fprintf(&text, "%s: %v\n", subject, got)
		for _, o := range part[max(0, len(part)-100):] {
			fmt.Fprintf(&text, "%v..%v client %d: %+v\n", time.Duration(o.Call), time.Duration(o.Return), o.ClientId, o.Input)
		}
		return text.String()
	}
	return ""
}

// outcome is what a client knows of a change. Of one that did not happen there is no operation in a history: if its
// effect is seen all the same, nobody has made it, and the history is wrong.
type outcome string

const (
	done    outcome = "done"
	refused outcome = "refused" // a register: not as If-Match says
	unknown outcome = "unknown" // may or may not have happened, or happen yet: it returns at the end of time
)

// registerChange is an operation on a setting that If-Match guards, a register with compare-and-set. No two writes
// have the same value, so a value stands for its revision.
type registerChange struct {
	name    string
	expect  string // value at the revision of If-Match
	set     string // empty: a read
	outcome outcome
	read    string
}

func (r registerChange) subject() string { return r.name }
func (r registerChange) open() bool      { return r.outcome == unknown }

// model holds a register to one winner at a version.
func (registerChange) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return "" },
		Step: func(state, input, _ any) (bool, any) {
			now, op := state.(string), input.(registerChange)
			switch {
			case op.set == "":
				return op.read == now, now
			case op.outcome == done:
				return op.expect == now, op.set
			case op.outcome == refused:
				return op.expect != now, now
			case op.expect == now: // where it didn't happen, it comes last
				return true, op.set
			}
			return true, now
		},
	}
}

// keyedRequest is an attempt at one request under one Idempotency-Key, or a look at what it has made.
type keyedRequest struct {
	key      string
	look     bool
	outcome  outcome
	repeated bool
	made     string // id of what it made; of a look, empty: there is none
	shown    string // what the reply shows beside it, the secret too
}

// keyState is what a key has done.
type keyState struct {
	happened    bool
	made, shown string // empty: nobody has seen it yet
}

func (r keyedRequest) subject() string { return r.key }
func (r keyedRequest) open() bool      { return r.outcome == unknown }

// model holds a key to one effect and one result: a request that could succeed is never refused.
func (keyedRequest) model() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return keyState{} },
		Step: func(state, input, _ any) (bool, any) {
			now, op := state.(keyState), input.(keyedRequest)
			seen := func(have, got string) bool { return have == "" || have == got }
			switch {
			case op.look && op.made == "":
				return !now.happened, now
			case op.look:
				return now.happened && seen(now.made, op.made), keyState{true, op.made, now.shown}
			case op.outcome == unknown:
				return true, keyState{true, now.made, now.shown}
			case op.outcome == refused || now.happened && !op.repeated:
				return false, now
			}
			return seen(now.made, op.made) && seen(now.shown, op.shown), keyState{true, op.made, op.shown}
		},
	}
}

// The models can fail. Each history is of operations one after the other, but for those whose outcome is unknown.
func TestHistoryModels(t *testing.T) {
	set := func(expect, value string, o outcome) operation {
		return registerChange{expect: expect, set: value, outcome: o}
	}
	get := func(value string) operation { return registerChange{read: value} }
	try := func(o outcome, repeated bool, made, shown string) operation {
		return keyedRequest{outcome: o, repeated: repeated, made: made, shown: shown}
	}
	look := func(made string) operation { return keyedRequest{look: true, made: made} }
	for name, tt := range map[string]struct {
		right   bool
		history []operation
	}{
		"one winner":                     {true, []operation{get(""), set("", "a", done), set("", "b", refused), get("a"), set("a", "c", done), get("c")}},
		"two winners at a version":       {false, []operation{set("", "a", done), set("", "b", done)}},
		"refused without a reason":       {false, []operation{set("", "a", refused)}},
		"refused and done":               {false, []operation{set("", "a", done), set("a", "b", refused), get("b")}},
		"a lost write":                   {false, []operation{set("", "a", done), get("")}},
		"nobody wrote it":                {false, []operation{get("a")}},
		"unknown and done":               {true, []operation{set("", "a", unknown), get(""), get("a"), set("a", "b", done)}},
		"unknown and not done":           {true, []operation{set("", "a", unknown), set("", "b", done), get("b")}},
		"unknown beside a winner":        {false, []operation{set("", "a", unknown), set("", "b", done), get("b"), get("a")}},
		"unknown why another is refused": {true, []operation{set("", "a", unknown), set("", "b", refused), get("a")}},

		"one effect":                {true, []operation{look(""), try(done, false, "1", "s"), try(done, true, "1", "s"), look("1")}},
		"two effects":               {false, []operation{try(done, false, "1", "s"), try(done, false, "2", "s")}},
		"another result":            {false, []operation{try(done, false, "1", "s"), try(done, true, "2", "s")}},
		"another secret":            {false, []operation{try(done, false, "1", "s"), try(done, true, "1", "t")}},
		"a refused retry":           {false, []operation{try(done, false, "1", "s"), try(refused, false, "", "")}},
		"a lost effect":             {false, []operation{try(done, false, "1", "s"), look("")}},
		"unknown, then a retry":     {true, []operation{try(unknown, false, "", ""), look(""), look("1"), try(done, true, "1", "s")}},
		"unknown, then the first":   {true, []operation{try(unknown, false, "", ""), look(""), try(done, false, "1", "s")}},
		"unknown and a new effect":  {false, []operation{try(unknown, false, "", ""), look("1"), try(done, false, "2", "s")}},
		"an effect that nobody had": {false, []operation{look("1")}},
	} {
		var h history
		for i, op := range tt.history {
			h.add(0, op, time.Duration(2*i), time.Duration(2*i+1))
		}
		if wrong := h.check(); (wrong == "") != tt.right {
			t.Errorf("%s: right is %v", name, !tt.right)
		}
	}
}
