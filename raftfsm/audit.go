package raftfsm

import (
	"encoding/hex"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/atolldb/atoll/rpc/audit"
)

// The bounds of what is kept of past changes.
const (
	// AuditMax bounds the records: the oldest goes out.
	AuditMax = 10_000
	// AuditChangesMax bounds the changes that one record lists.
	AuditChangesMax = 64
	// auditTextMax bounds the text of one value, in bytes.
	auditTextMax = 1024
)

// touched is one record of the state that a command has changed, as it was before it, and is after it.
type touched struct {
	record, id    string
	before, after protoreflect.Message // nil: not there
}

// note remembers what a command does to a record.
func (t *txn) note(record, id string, before, after proto.Message) {
	for i := range t.touched {
		if c := &t.touched[i]; c.record == record && c.id == id {
			c.after = reflected(after)
			return
		}
	}
	t.touched = append(t.touched, touched{record, id, reflected(before), reflected(after)})
}

// reflected returns a message's fields; nil for a typed nil, too.
func reflected(m proto.Message) protoreflect.Message {
	if m == nil || !m.ProtoReflect().IsValid() {
		return nil
	}
	return m.ProtoReflect()
}

// audit adds the record of the command that was applied, dropping the oldest of a full table, and returns the table's
// size.
func (t *txn) audit(n int, p *Proposal) int {
	r := &audit.Record{
		Revision: t.index, At: time.UnixMilli(p.TimeMs).UTC(), Actor: p.Actor, Source: p.Source, Action: actionOf(p.Command),
		Changes: []audit.FieldChange{},
	}
	for i := range t.touched {
		c := &t.touched[i]
		compare("", c.before, c.after, func(field, before, after string) {
			if len(r.Changes) == AuditChangesMax {
				r.Omitted++
				return
			}
			r.Changes = append(r.Changes, audit.FieldChange{Record: c.record, ID: c.id, Field: field, Before: before, After: after})
		})
	}
	if last, err := t.txn.Last(tableAudit, indexID); err != nil {
		panic(err) // a table that the schema lacks
	} else if last, ok := last.(*audit.Record); ok {
		r.Previous = last.Hash
	}
	r.Hash = r.Sum()
	t.insert(tableAudit, r)
	if n < AuditMax {
		return n + 1
	}
	for oldest := range all[*audit.Record](t.reader, tableAudit, indexID) {
		t.delete(tableAudit, oldest)
		break
	}
	return n
}

// actionOf returns the command's name in lower-case words: CreateNamespace is create-namespace.
func actionOf(c Command) string {
	var b strings.Builder
	for i, r := range reflect.TypeOf(c).Elem().Name() {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// compare calls changed for each field that differs between two messages of one type, either of which may be nil, in the
// order of their numbers; those of a message inside have its name before theirs. Fields of bytes hold secrets
// and their hashes, and are never shown. What follows from the change itself isn't either.
func compare(prefix string, before, after protoreflect.Message, changed func(field, before, after string)) {
	either := after
	if either == nil {
		either = before
	}
	if either == nil {
		return
	}
	fields := either.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.Kind() == protoreflect.BytesKind || f.Name() == "modified_revision" || f.Name() == "modified_ms" {
			continue
		}
		name := prefix + string(f.Name())
		if f.Message() != nil && !f.IsList() {
			compare(name+".", inside(before, f), inside(after, f), changed)
			continue
		}
		was, is := text(before, f), text(after, f)
		if was != is {
			changed(name, was, is)
		}
	}
}

func inside(m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Message {
	if m == nil || !m.Has(f) {
		return nil
	}
	return m.Get(f).Message()
}

// text writes a field's value, empty if it isn't there.
func text(m protoreflect.Message, f protoreflect.FieldDescriptor) string {
	if m == nil || !m.Has(f) {
		return ""
	}
	if !f.IsList() {
		return cut(scalar(f, m.Get(f)))
	}
	// The whole list counts, though cut may shorten it, and no two lists are the same text: else a change could go unseen.
	plain := strings.NewReplacer(`\`, `\\`, " ", `\ `, "=", `\=`)
	var b strings.Builder
	for i, list := 0, m.Get(f).List(); i < list.Len(); i++ {
		if i > 0 {
			b.WriteByte(' ')
		}
		if f.Message() == nil {
			b.WriteString(plain.Replace(scalar(f, list.Get(i))))
			continue
		}
		separator := ""
		compare("", nil, list.Get(i).Message(), func(_, _, value string) {
			b.WriteString(separator + plain.Replace(value))
			separator = "="
		})
	}
	return cut(b.String())
}

// cut shortens a long text, whose place the hash of the whole takes.
func cut(s string) string {
	if len(s) <= auditTextMax {
		return s
	}
	d := DigestOf(s)
	return fmt.Sprintf("%s... (%d bytes, SHA-256 %s)", strings.ToValidUTF8(s[:auditTextMax/2], ""), len(s), hex.EncodeToString(d[:]))
}

func scalar(f protoreflect.FieldDescriptor, v protoreflect.Value) string {
	if f.Kind() == protoreflect.EnumKind {
		if e := f.Enum().Values().ByNumber(v.Enum()); e != nil {
			return strings.ToLower(string(e.Name()))
		}
		return strconv.Itoa(int(v.Enum()))
	}
	return v.String()
}

// Audit iterates over the records of changes above a revision, the oldest first. The last 10,000 are kept.
func (r reader) Audit(after uint64) iter.Seq[*audit.Record] {
	return func(yield func(*audit.Record) bool) {
		rows, err := r.txn.LowerBound(tableAudit, indexID, idKey(after+1))
		if err != nil {
			panic(err) // a table that the schema lacks
		}
		for obj := rows.Next(); obj != nil; obj = rows.Next() {
			if record, ok := obj.(*audit.Record); ok && !yield(record) {
				return
			}
		}
	}
}

// auditRow is a record in a snapshot. Its hash is computed anew, and compared.
type auditRow struct{ *audit.Record }

func (r auditRow) fields(f *fields) {
	f.u64(&r.Revision)
	ms := r.At.UnixMilli()
	f.i64(&ms)
	f.str(&r.Actor)
	f.str(&r.Source)
	f.str(&r.Action)
	list(f, &r.Changes, func(c *audit.FieldChange) {
		f.str(&c.Record)
		f.str(&c.ID)
		f.str(&c.Field)
		f.str(&c.Before)
		f.str(&c.After)
	})
	f.u64(&r.Omitted)
	f.str(&r.Previous)
	f.str(&r.Hash)
	if !f.reading {
		return
	}
	r.At = time.UnixMilli(ms).UTC()
	if r.Changes == nil {
		r.Changes = []audit.FieldChange{}
	}
	if r.Hash != r.Sum() {
		f.fail()
	}
}
