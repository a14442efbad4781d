package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/atolldb/atoll/datanode/replog"
	"github.com/cockroachdb/pebble/v2"
)

// walk reads every row of an opened store, and recounts what is kept about them.
func (v *verifier) walk() error {
	if err := v.noteSpans(); err != nil {
		return err
	}
	if err := v.systemRows(); err != nil {
		return err
	}
	for at := uint64(1); at != 0; {
		id, ok := v.nextNamespace(at)
		if !ok {
			break
		}
		if err := v.walkNamespace(id); err != nil {
			return err
		}
		at = id + 1
	}
	if !v.counted {
		return nil
	}
	v.store.namespaces.Range(func(_, n any) bool { // those without rows
		for _, ks := range n.(*Namespace).snapshot() {
			if !v.audited[ks] && !v.hit[ks.ns.id] {
				(&spaceAudit{v: v, ks: ks}).finish()
			}
		}
		return true
	})
	return nil
}

// sayOf says something about a namespace's rows.
func (v *verifier) sayOf(id uint64, format string, args ...any) {
	v.say(replog.Finding{File: v.path(pebbleDir), Offset: -1, What: fmt.Sprintf(format, args...), Namespaces: []uint64{id}})
}

// systemRows looks at the node's own rows; load has decoded what it needs of them.
func (v *verifier) systemRows() error {
	it, err := v.store.db.NewIter(&pebble.IterOptions{LowerBound: []byte{0}, UpperBound: []byte{1}})
	if err != nil {
		return fmt.Errorf("read system rows: %w", err)
	}
	for ok := it.First(); ok; ok = it.Next() {
		v.sum.Rows++
		k, good := parseRowKey(it.Key())
		value, err := it.ValueAndErr()
		if err == nil && good && k.kind != sysPosition {
			ns, rest, known := number(k.rest)
			n, _, second := number(rest)
			mapped, _, third := number(value)
			switch {
			case k.kind > sysPurged, !known, k.kind != sysPurged && !second:
				good = false
			case k.kind == sysMapping && (!third || n >= Databases || v.store.Namespace(ns).spaceIs(mapped) == nil):
				good = false
			}
		}
		if err != nil || !good {
			v.say(replog.Finding{File: v.path(pebbleDir), Offset: -1, What: fmt.Sprintf("system row %x can't be read: %v", it.Key(), err), All: true})
		}
	}
	if err := it.Close(); err != nil {
		v.say(replog.Finding{File: v.path(pebbleDir), Offset: -1, What: fmt.Sprintf("system rows can't be read: %v", err), All: true})
	}
	return nil
}

// spaceIs returns a keyspace that is known, or nil.
func (n *Namespace) spaceIs(number uint64) *keyspace {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.spaces[number]
}

// nextNamespace returns the first namespace from id on that has rows. Where that can't be read, it is the
// first that is known.
func (v *verifier) nextNamespace(id uint64) (next uint64, ok bool) {
	it, err := v.store.db.NewIter(&pebble.IterOptions{LowerBound: appendNumber(nil, id)})
	if err == nil {
		if it.First() {
			next, _, ok = number(it.Key())
		}
		err = it.Close()
	}
	if err == nil {
		return next, ok
	}
	for _, known := range v.known() {
		if known >= id {
			return known, true
		}
	}
	v.say(replog.Finding{File: v.path(pebbleDir), Offset: -1, What: fmt.Sprintf("rows of namespaces from %d on can't be read: %v", id, err)})
	return 0, false
}

func (v *verifier) walkNamespace(id uint64) error {
	n := v.store.Namespace(id)
	v.clean = make(map[*keyspace]bool)
	prefix := namespacePrefix(id)
	rows, broken, err := v.walkRange(n, prefix, prefixEnd(prefix))
	if broken != nil && rows == 0 { // the place before the first row may be in another one's block
		broken = nil
		for _, ks := range n.snapshot() {
			more, b, e := v.walkRange(n, ks.prefix, prefixEnd(ks.prefix))
			rows, broken, err = rows+more, errors.Join(broken, b), errors.Join(err, e)
		}
	}
	if err != nil {
		return err
	}
	v.sum.Rows += rows
	if rows > 0 {
		v.sum.Namespaces = append(v.sum.Namespaces, id)
	}
	switch {
	case broken != nil && v.counted && v.whole(n): // it was read, and on into the next one's rows
	case broken != nil:
		v.hit[id] = true
		v.sayOf(id, "rows can't be read: %v", broken)
	case rows > 0 && n.purged.Load():
		v.sayOf(id, "%d rows of a deleted namespace are left", rows)
	}
	return nil
}

// walkRange reads the rows of a namespace in [lower, upper). broken is why it could not read on.
func (v *verifier) walkRange(n *Namespace, lower, upper []byte) (rows uint64, broken, err error) {
	it, err := v.store.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return 0, nil, fmt.Errorf("read rows: %w", err)
	}
	var a *spaceAudit
	for ok := it.First(); ok; ok = it.Next() {
		if rows++; rows%1024 == 0 && v.ctx.Err() != nil {
			return rows, nil, errors.Join(v.ctx.Err(), it.Close())
		}
		value, err := it.ValueAndErr()
		if err != nil {
			break // Close says it again
		}
		k, good := parseRowKey(it.Key())
		if !good {
			v.sayOf(n.id, "row %x has no keyspace or no kind", it.Key())
			continue
		}
		if a == nil || a.ks.number != k.ks {
			a.finish()
			a = v.newAudit(n.space(k.ks))
		}
		a.add(k, it.Key(), value)
	}
	if broken = it.Close(); broken == nil {
		a.finish()
	} else if a != nil {
		v.clean[a.ks] = a.agrees()
	}
	return rows, broken, nil
}

// whole says whether every keyspace has all that is counted of it.
func (v *verifier) whole(n *Namespace) bool {
	for _, ks := range n.snapshot() {
		if !v.clean[ks] && (v.audited[ks] || !(&spaceAudit{v: v, ks: ks}).agrees()) {
			return false
		}
	}
	return true
}

// spaceAudit is what is counted in one keyspace.
type spaceAudit struct {
	v      *verifier
	ks     *keyspace
	nobody bool // emptied by FLUSHDB, or no database's: what is left of it counts for nothing
	said   int

	keys, bytes, expires, garbage int64
	indexed                       int64 // rows of the expiry index
	spread, groups                int64 // spread collections, a stream's groups among them, and those that have rows
	group                         []byte
}

const findingsMax = 20 // of one keyspace

func (v *verifier) newAudit(ks *keyspace) *spaceAudit {
	a := &spaceAudit{v: v, ks: ks, nobody: ks.dropped.Load()}
	v.audited[ks] = true
	if _, ok := ks.database(); !ok && !a.nobody {
		a.nobody = true
		a.say("keyspace %d has rows, is no database's, and no sweep removes it", ks.number)
	}
	return a
}

func (a *spaceAudit) say(format string, args ...any) {
	if a.said++; a.said <= findingsMax {
		a.v.sayOf(a.ks.ns.id, format, args...)
	}
}

func (a *spaceAudit) add(k rowKey, key, value []byte) {
	switch k.kind {
	case kindKey:
		a.addKey(k, value)
	case kindExpiry:
		a.addExpiry(k)
	case kindGarbage:
		if _, w := binary.Uvarint(value); w <= 0 || len(k.rest) != 8 {
			a.say("row %x of a dead collection can't be read", key)
		}
		a.garbage++
	case kindMember, kindScore, kindEntry, kindGroup:
		n, w := binary.Uvarint(k.rest)
		if w <= 0 || n > uint64(len(k.rest)-w) || uint64(len(k.rest)-w)-n < 8 {
			a.say("sub row %x can't be read", key)
			return
		}
		name := k.rest[w+int(n)+8:]
		if group := key[:len(key)-len(name)]; !bytes.Equal(group, a.group) {
			a.group = bytes.Clone(group)
			if !a.nobody {
				a.addGroup(k, k.rest[w:w+int(n)], binary.BigEndian.Uint64(k.rest[w+int(n):]))
			}
		}
	default:
		a.say("row %x is of the unknown kind %d", key, k.kind)
	}
}

func (a *spaceAudit) addKey(k rowKey, value []byte) {
	r, err := decodeRow(value)
	if err == nil && (!r.Spread || r.Type == TypeStream) && a.v.check.Row != nil {
		err = a.v.check.Row(r)
	}
	if err != nil {
		a.say("%s: %v", quote(k.rest), err)
		return
	}
	a.keys++
	a.bytes += rowBytes(len(k.rest), value, &r)
	if r.ExpireMS != 0 {
		a.expires++
	}
	if r.Spread {
		if r.Count > 0 {
			a.spread++
		}
		if r.Groups > 0 {
			a.spread++
		}
		if top := a.v.sum.Applied.Versions; a.v.counted && r.Version > top {
			a.say("%s has version %d, and the highest that was given is %d", quote(k.rest), r.Version, top)
		}
	}
}

// addExpiry checks that an index row's key has its time. With equal numbers of both, the index is right.
func (a *spaceAudit) addExpiry(k rowKey) {
	a.indexed++
	if len(k.rest) < 8 || a.nobody {
		if len(k.rest) < 8 {
			a.say("row %x of the expiry index can't be read", k.rest)
		}
		return
	}
	ms, key := int64(binary.BigEndian.Uint64(k.rest)), k.rest[8:]
	if r, ok := a.owner(key); !ok || r.ExpireMS != ms {
		a.say("%s is in the expiry index at %d, and expires at %d", quote(key), ms, r.ExpireMS)
	}
}

// addGroup checks the sub rows of one collection against what its key row says.
func (a *spaceAudit) addGroup(k rowKey, key []byte, version uint64) {
	r, ok := a.owner(key)
	if !ok || !r.Spread || r.Version != version {
		v, ok := a.get(appendGarbageRow(nil, a.ks.prefix, version))
		if _, w := binary.Uvarint(v); !ok || w <= 0 || !bytes.Equal(v[w:], key) {
			a.say("sub rows of %s, version %d, have no key row, and no sweep removes them", quote(key), version)
		}
		return
	}
	if (r.Type == TypeStream) != (k.kind == kindEntry || k.kind == kindGroup) {
		a.say("%s, of type %d, has rows of kind %d", quote(key), r.Type, k.kind)
		return
	}
	if k.kind == kindScore {
		return
	}
	a.groups++
	if r.Type == TypeStream {
		a.addStream(k.kind, key, r)
		return
	}
	members, size := a.sum(kindMember, key, version)
	scores, more := a.sum(kindScore, key, version)
	if members != r.Count || size+more != r.Bytes {
		a.say("%s says %d members in %d bytes, and has %d in %d", quote(key), r.Count, r.Bytes, members, size+more)
	}
	if (r.Type == TypeZSet) != (scores > 0) || scores > 0 && scores != members {
		a.say("%s, of type %d, has %d members and %d scores", quote(key), r.Type, members, scores)
	}
	if r.Type == TypeList {
		a.addList(key, r)
	}
}

// addStream checks what the key row of a stream says of its entries, or of its groups.
func (a *spaceAudit) addStream(kind byte, key []byte, r Row) {
	rows, size := a.sum(kind, key, r.Version)
	switch {
	case kind == kindGroup && size != r.Groups:
		a.say("%s says that its groups take %d bytes, and they take %d", quote(key), r.Groups, size)
	case kind == kindEntry && (rows != r.Count || size != r.Bytes-r.Groups):
		a.say("%s says %d entries in %d bytes, and has %d in %d", quote(key), r.Count, r.Bytes-r.Groups, rows, size)
	}
}

// addList checks that the elements of a list have the indexes from Head on, one after the other.
func (a *spaceAudit) addList(key []byte, r Row) {
	prefix := appendSubPrefix(nil, a.ks.prefix, kindMember, key, r.Version)
	it, err := a.v.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return
	}
	defer func() { _ = it.Close() }() // the walk meets what can't be read
	want := r.Head
	for ok := it.First(); ok; ok = it.Next() {
		if name := it.Key()[len(prefix):]; len(name) != headSize || binary.BigEndian.Uint64(name) != want {
			a.say("%s, a list from index %d on, has no element %d but %x", quote(key), r.Head, want, name)
			return
		}
		want++
	}
}

func (a *spaceAudit) sum(kind byte, key []byte, version uint64) (rows, size uint64) {
	prefix := appendSubPrefix(nil, a.ks.prefix, kind, key, version)
	it, err := a.v.store.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
	if err != nil {
		return 0, 0
	}
	defer func() { _ = it.Close() }() // the walk meets what can't be read
	for ok := it.First(); ok; ok = it.Next() {
		rows++
		size += SubSize(it.Key()[len(prefix):], it.Value())
	}
	return rows, size
}

func (a *spaceAudit) owner(key []byte) (r Row, ok bool) {
	value, ok := a.get(appendKeyRow(nil, a.ks.prefix, key))
	if !ok {
		return Row{}, false
	}
	r, err := decodeRow(value)
	return r, err == nil
}

func (a *spaceAudit) get(key []byte) ([]byte, bool) {
	value, closer, err := a.v.store.db.Get(key)
	if err != nil {
		return nil, false
	}
	value = bytes.Clone(value)
	_ = closer.Close()
	return value, true
}

// finish compares what was counted with what is kept.
func (a *spaceAudit) finish() {
	if a == nil {
		return
	}
	ks := a.ks
	have, want := a.counts()
	if !a.nobody {
		if a.indexed != a.expires {
			a.say("keyspace %d has %d keys that expire, and its index %d", ks.number, a.expires, a.indexed)
		}
		if a.spread != a.groups {
			a.say("keyspace %d has %d collections with rows of their own, and %d that have such rows", ks.number, a.spread, a.groups)
		}
	}
	a.v.clean[ks] = a.agrees()
	if a.v.counted && have != want {
		a.say("keyspace %d counts keys, bytes, expiries, dead collections %v, and has %v", ks.number, have, want)
	}
	if a.said > findingsMax {
		a.v.sayOf(ks.ns.id, "and %d findings more in keyspace %d", a.said-findingsMax, ks.number)
	}
}

// counts returns what is kept about the keyspace, and what was counted.
func (a *spaceAudit) counts() (have, want [4]int64) {
	have = [...]int64{a.ks.keys.Load(), a.ks.bytes.Load(), a.ks.expires.Load(), a.ks.garbage.Load()}
	if !a.nobody {
		want = [...]int64{a.keys, a.bytes, a.expires, a.garbage}
	}
	return have, want
}

// agrees says whether all rows of the keyspace were met.
func (a *spaceAudit) agrees() bool {
	have, want := a.counts()
	return have == want && (a.nobody || a.indexed == a.expires && a.spread == a.groups)
}

// quote shows the start of a key.
func quote(key []byte) string {
	const most = 64
	if len(key) > most {
		return fmt.Sprintf("key %q and %d bytes more", key[:most], len(key)-most)
	}
	return fmt.Sprintf("key %q", key)
}
