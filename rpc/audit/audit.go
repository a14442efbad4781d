// Package audit is the record of a change of the metadata: who made it, from where, and what was before and after. Each
// record's hash covers the one before it, so that none can be changed or taken out unseen. No record holds a secret.
package audit

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"time"
)

// Record is one change of the metadata.
type Record struct {
	Revision uint64        `json:"revision" doc:"of the change; records ascend by it"`
	At       time.Time     `json:"at" doc:"by the clock of the node that proposed it, in milliseconds"`
	Actor    string        `json:"actor" doc:"id of the admin token or of the node that asked, or control for a controller of the leader; token@node for a client of RESP, whose token is that data node's word"`
	Source   string        `json:"source,omitempty" doc:"network address that the request came from; absent where no client asked"`
	Action   string        `json:"action" doc:"such as create-namespace"`
	Changes  []FieldChange `json:"changes"`
	Omitted  uint64        `json:"omitted,omitempty" doc:"changes beyond the first 64, which are not listed"`
	Previous string        `json:"previous" doc:"hash of the record before; empty in the first one"`
	Hash     string        `json:"hash" doc:"SHA-256 of previous and everything else, each text and number in its place"`
}

// FieldChange is one field of one record of the metadata that became another. A text that is empty was or is not there.
type FieldChange struct {
	Record string `json:"record" doc:"kind of what changed: namespace, token, node, group, cluster and the like; refusal for what was turned away, with the reason as its id"`
	ID     string `json:"id" doc:"of it"`
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Sum returns the hash that the record should have: the SHA-256, in hexadecimal, of its fields in the order of the struct,
// Hash left out. A text is its length and its bytes, a number and a list's length a varint, a time its Unix milliseconds.
func (r *Record) Sum() string {
	s := summer{sha256.New()}
	s.number(r.Revision)
	s.number(uint64(r.At.UnixMilli()))
	s.text(r.Actor)
	s.text(r.Source)
	s.text(r.Action)
	s.number(uint64(len(r.Changes)))
	for _, c := range r.Changes {
		s.text(c.Record)
		s.text(c.ID)
		s.text(c.Field)
		s.text(c.Before)
		s.text(c.After)
	}
	s.number(r.Omitted)
	s.text(r.Previous)
	return hex.EncodeToString(s.Sum(nil))
}

type summer struct{ hash.Hash }

func (s summer) number(n uint64) { _, _ = s.Write(binary.AppendUvarint(nil, n)) } // a hash never fails

func (s summer) text(t string) {
	s.number(uint64(len(t)))
	_, _ = s.Write([]byte(t))
}

// Verify returns the index of the first record that was changed or doesn't follow the one before it in the list, or -1.
// Records in front of the first one may be gone: a cluster keeps a bounded number.
func Verify(records []Record) int {
	for i := range records {
		r := &records[i]
		if r.Hash != r.Sum() || i > 0 && (r.Previous != records[i-1].Hash || r.Revision <= records[i-1].Revision) {
			return i
		}
	}
	return -1
}
