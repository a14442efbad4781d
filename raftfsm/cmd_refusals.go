package raftfsm

import (
	"unicode/utf8"

	"github.com/atolldb/atoll/rpc/atollpb"
)

// Why a process was turned away, as the audit says it.
const (
	RefusedUnknown     = "join-token-unknown" // wrong, taken back, or expired long ago
	RefusedExpired     = "join-token-expired"
	RefusedUsed        = "join-token-used"
	RefusedOtherNode   = "join-token-of-another-node"
	RefusedOtherRole   = "join-token-of-another-role"
	RefusedIDTaken     = "node-id-taken"
	RefusedMalformed   = "malformed-request"
	RefusedClock       = "clock-differs"
	RefusedForeign     = "certificate-foreign"   // of another cluster, or of none
	RefusedData        = "data-foreign"          // its data directory is another cluster's
	RefusedEnded       = "certificate-ended"     // or not good yet
	RefusedByPeer      = "certificate-not-taken" // the process turned this cluster down: its join token is another's, or a clock is wrong
	RefusedNode        = "node-removed"          // or replaced by another with its id
	RefusedCall        = "call-not-allowed"      // of that role, or in another's name
	refusalReasonsMax  = 16
	refusalTextMax     = 64 // bytes
	refusalRoleTextMax = 16 // bytes
)

// because names the reason, for the audit.
func (e *Error) because(reason string) *Error {
	e.Reason = reason
	return e
}

// Refusal is how often something was turned away for one reason, and the last that was.
type Refusal struct {
	Reason  string
	Count   uint64
	NodeID  string // as it called itself; empty: it didn't
	Role    string
	Source  string // network address
	SinceMs int64  // when the first one was
}

// RecordRefusals puts into the audit what a metadata node has turned away. It changes nothing else. Strangers cause it,
// so whoever proposes it has to see to it that it is rare.
type RecordRefusals struct {
	Refusals []Refusal
}

func (c *RecordRefusals) fields(f *fields) {
	list(f, &c.Refusals, func(r *Refusal) {
		f.str(&r.Reason)
		f.u64(&r.Count)
		f.str(&r.NodeID)
		f.str(&r.Role)
		f.str(&r.Source)
		f.i64(&r.SinceMs)
	})
}

func (c *RecordRefusals) apply(t *txn) (Result, *Error) {
	if t.Cluster() == nil {
		return Result{}, notInitialised()
	}
	if len(c.Refusals) == 0 || len(c.Refusals) > refusalReasonsMax {
		return Result{}, refuse(CodeInvalid, "refusals", "refusals takes 1 to %d", refusalReasonsMax)
	}
	for _, r := range c.Refusals {
		if err := validateID("reason", r.Reason); err != nil {
			return Result{}, err
		}
		for _, text := range []struct {
			s        string
			bytesMax int
		}{{r.NodeID, refusalTextMax}, {r.Role, refusalRoleTextMax}, {r.Source, refusalTextMax}} {
			if len(text.s) > text.bytesMax || !utf8.ValidString(text.s) {
				return Result{}, refuse(CodeInvalid, "refusals", "a text of a refusal is longer than %d bytes, or no UTF-8", text.bytesMax)
			}
		}
		t.note("refusal", r.Reason, nil, &atollpb.Refusal{Count: r.Count, NodeId: r.NodeID, Role: r.Role, Source: r.Source, SinceMs: r.SinceMs})
	}
	return t.done(), nil
}
