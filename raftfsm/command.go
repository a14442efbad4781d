package raftfsm

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"reflect"
	"strings"
)

// CommandBytesMax bounds one encoded command: raft-boltdb slows down with larger payloads.
const CommandBytesMax = 512 << 10

// The bounds of an envelope's strings, in bytes.
const (
	RequestIDBytesMax = 128
	ActorBytesMax     = 128 // of Actor and Source together
)

// Command is one metadata change. The commands of this package are its only implementations.
type Command interface {
	// fields walks the payload in both directions.
	fields(*fields)
	// apply changes the state, or refuses; after a refusal nothing of what it changed remains.
	apply(*txn) (Result, *Error)
}

// Proposal is a command with what its proposer knows beside it.
type Proposal struct {
	Command Command
	// RequestID makes a retry of the same proposal have one effect, as long as the state remembers it
	// (the last RequestsMax changes). Empty: never remembered.
	RequestID string
	Digest    Digest // of what the caller asked for under that id
	TimeMs    int64  // Unix milliseconds of the proposer's clock
	Actor     string // who asked: a token id, a node id or "control"; without spaces
	Source    string // network address that the request came from, or empty
}

// Digest tells one caller's request from another's under the same id. It is of the request, not of the
// command, into which the proposer puts random ids and secrets. The zero Digest is that of no request.
type Digest [sha256.Size]byte

// DigestOf returns the digest of a request's parts.
func DigestOf(parts ...string) Digest {
	h := sha256.New()
	for _, part := range parts { // with its length, so that no two lists of parts run together
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	return Digest(h.Sum(nil))
}

// Result is what an applied command did.
type Result struct {
	// Revision of the state that contains the effect: that of the change, or of the state that already
	// was as asked.
	Revision    uint64
	NamespaceID uint64   // of the namespace that the command made or changed
	TokenIDs    []string // of the tokens that it made
	// Repeated is set when an earlier proposal with the same request id had the effect. Its time and
	// random ids count, not the repeated one's.
	Repeated bool
}

func (r *Result) fields(f *fields) {
	f.u64(&r.Revision)
	f.u64(&r.NamespaceID)
	list(f, &r.TokenIDs, f.str)
	f.boolean(&r.Repeated)
}

// entry is one row of the command table.
type entry struct {
	id       uint64
	version  uint64 // the one that is written
	versions uint64 // the oldest that is read
	make     func() Command
}

// commandTable lists every command. Ids are append-only: they are in the logs of running clusters.
func commandTable() []entry {
	return []entry{
		{1, 1, 1, func() Command { return new(InitCluster) }},
		{2, 1, 1, func() Command { return new(SetMetadataNodes) }},
		{3, 2, 1, func() Command { return new(CreateNamespace) }},
		{4, 2, 1, func() Command { return new(UpdateNamespace) }},
		{5, 2, 1, func() Command { return new(DeleteNamespace) }},
		{6, 2, 1, func() Command { return new(CreateToken) }},
		{7, 2, 1, func() Command { return new(RevokeToken) }},
		{8, 1, 1, func() Command { return new(ReplaceTokens) }},
		{9, 1, 1, func() Command { return new(RegisterNode) }},
		{10, 1, 1, func() Command { return new(RemoveNode) }},
		{11, 1, 1, func() Command { return new(ReportPurged) }},
		{12, 1, 1, func() Command { return new(DropTombstones) }},
		{13, 1, 1, func() Command { return new(BeginEpoch) }},
		{14, 1, 1, func() Command { return new(BeginPromotion) }},
		{15, 1, 1, func() Command { return new(CompletePromotion) }},
		{16, 1, 1, func() Command { return new(AbortPromotion) }},
		{17, 1, 1, func() Command { return new(ForcePromotion) }},
		{18, 1, 1, func() Command { return new(UndeleteNamespace) }},
		{19, 1, 1, func() Command { return new(PurgeNamespace) }},
		{20, 1, 1, func() Command { return new(EndGrace) }},
		{21, 1, 1, func() Command { return new(RotateToken) }},
		{22, 1, 1, func() Command { return new(UpdateToken) }},
		{23, 1, 1, func() Command { return new(RestoreCluster) }},
		{24, 1, 1, func() Command { return new(SetAuthority) }},
		{25, 1, 1, func() Command { return new(CreateInvite) }},
		{26, 1, 1, func() Command { return new(UseInvite) }},
		{27, 1, 1, func() Command { return new(DeleteInvite) }},
		{28, 1, 1, func() Command { return new(EnrollNode) }},
		{29, 1, 1, func() Command { return new(BeginFromSave) }},
		{30, 1, 1, func() Command { return new(RecordRefusals) }},
		{31, 1, 1, func() Command { return new(BeginAuthority) }},
		{32, 1, 1, func() Command { return new(ProveAuthority) }},
		{33, 1, 1, func() Command { return new(FinishAuthority) }},
	}
}

// codec holds the command table by id and by type.
type codec struct {
	byID   map[uint64]entry
	byType map[reflect.Type]entry
}

func newCodec() *codec {
	c := &codec{byID: map[uint64]entry{}, byType: map[reflect.Type]entry{}}
	for _, e := range commandTable() {
		c.byID[e.id] = e
		c.byType[reflect.TypeOf(e.make())] = e
	}
	return c
}

// Encode returns the proposal's bytes for the log. It fails on a foreign command type, on an envelope
// field beyond its bound, and with ErrCommandTooLarge.
func (f *FSM) Encode(p Proposal) ([]byte, error) { return f.codec.encode(p) }

// Decode reads what Encode wrote. It returns an error that wraps ErrUnknownCommand or ErrCorruptCommand.
func (f *FSM) Decode(data []byte) (Proposal, error) {
	return f.codec.decode(data)
}

func (c *codec) encode(p Proposal) ([]byte, error) {
	e, ok := c.byType[reflect.TypeOf(p.Command)]
	if !ok {
		return nil, fmt.Errorf("encode %T: %w", p.Command, ErrUnknownCommand)
	}
	if len(p.RequestID) > RequestIDBytesMax {
		return nil, refuse(CodeInvalid, "request_id", "request_id is longer than %d bytes", RequestIDBytesMax)
	}
	if len(p.Actor)+1+len(p.Source) > ActorBytesMax {
		p.Actor, p.Source = p.Actor[:min(len(p.Actor), ActorBytesMax)], ""
	}
	f := &fields{version: e.version}
	head := envelope{e.id, e.version, &p}
	head.fields(f)
	p.Command.fields(f)
	if f.err != nil {
		return nil, refuse(CodeInvalid, "", "a field of %T is longer than %d bytes or out of range", p.Command, stringBytesMax)
	}
	if len(f.buf) > CommandBytesMax {
		return nil, fmt.Errorf("encode %T of %d bytes: %w", p.Command, len(f.buf), ErrCommandTooLarge)
	}
	return f.buf, nil
}

func (c *codec) decode(data []byte) (Proposal, error) {
	f := &fields{buf: data, reading: true}
	var p Proposal
	head := envelope{proposal: &p}
	head.fields(f)
	if f.err != nil {
		return p, fmt.Errorf("decode envelope: %w", ErrCorruptCommand)
	}
	e, ok := c.byID[head.id]
	if !ok || head.version > e.version || head.version < e.versions {
		return p, fmt.Errorf("decode command %d version %d: %w", head.id, head.version, ErrUnknownCommand)
	}
	p.Command = e.make()
	f.version = head.version
	p.Command.fields(f)
	if f.end() != nil {
		return p, fmt.Errorf("decode %T: %w", p.Command, ErrCorruptCommand)
	}
	return p, nil
}

// envelope is what precedes every payload.
type envelope struct {
	id, version uint64
	proposal    *Proposal
}

func (e *envelope) fields(f *fields) {
	f.u64(&e.id)
	f.u64(&e.version)
	f.str(&e.proposal.RequestID)
	f.digest(&e.proposal.Digest)
	f.i64(&e.proposal.TimeMs)
	who := e.proposal.Actor
	if e.proposal.Source != "" {
		who += " " + e.proposal.Source
	}
	f.str(&who)
	if len(e.proposal.RequestID) > RequestIDBytesMax || len(who) > ActorBytesMax {
		f.fail()
	}
	if f.reading {
		var from bool
		if e.proposal.Actor, e.proposal.Source, from = strings.Cut(who, " "); from && e.proposal.Source == "" {
			f.fail() // two encodings of one value
		}
	}
}

// Outcome is what Apply answers for one command: a result or a refusal.
type Outcome struct {
	Result  Result
	Refusal *Error
}

// Err returns the refusal as an error, or nil.
func (o Outcome) Err() error {
	if o.Refusal == nil {
		return nil
	}
	return o.Refusal
}

// EncodeOutcome returns the outcome's bytes, for ProposeResponse.result.
func EncodeOutcome(o Outcome) []byte {
	f := &fields{}
	o.fields(f)
	return f.buf
}

// DecodeOutcome reads what EncodeOutcome wrote.
func DecodeOutcome(data []byte) (Outcome, error) {
	f := &fields{buf: data, reading: true}
	var o Outcome
	o.fields(f)
	if err := f.end(); err != nil {
		return Outcome{}, fmt.Errorf("decode outcome: %w", err)
	}
	return o, nil
}

func (o *Outcome) fields(f *fields) {
	refused := o.Refusal != nil
	f.boolean(&refused)
	if !refused {
		o.Result.fields(f)
		return
	}
	if o.Refusal == nil {
		o.Refusal = &Error{}
	}
	o.Refusal.fields(f)
}
