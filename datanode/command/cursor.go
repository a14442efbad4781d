package command

import (
	"container/list"
	"math/rand/v2"
	"sync"
)

// A scan's cursor is a number that stands for where the scan goes on. Numbers are handed out by one table
// for each namespace, so a tenant can't see another's, and can't push one out either, unless more than
// cursorTablesMax namespaces scan: then the one that scanned least recently loses its table. A number is
// below 2^53, since clients read it as a double, and carries a random part, so that one from before a
// restart is unknown and not another scan's.
const (
	cursorsMax      = 1024      // of a namespace
	cursorBytesMax  = 256 << 10 // of a namespace: the positions, which are keys or members
	cursorNameMax   = 16 << 10  // bytes of one: a scan goes on behind a longer name, to one that it can remember
	cursorsUsedMax  = 256       // that were continued already, kept for a client that repeats a call
	cursorTablesMax = 4096      // namespaces with scans under way, and so 1 GiB of positions at the most
	cursorSeqBits   = 32
	cursorSaltMax   = 1<<(53-cursorSeqBits) - 1
)

// scanKind is what a cursor belongs to: a cursor of one scan is unknown to another.
type scanKind uint8

const (
	scanKeys scanKind = iota
	scanHash
	scanZSet
	scanSet
)

// position is where a scan goes on: behind last.
type position struct {
	kind scanKind
	db   int
	key  uint64 // of the collection: its lock hash, since a key may be long, and the cursor is its tenant's own
	last []byte // the key, field or member that was looked at last
}

// cursorTables are the tables of all namespaces.
type cursorTables struct {
	mu     sync.Mutex
	tables map[uint64]*list.Element // of *cursorTable
	recent list.List                // the one used last in front
}

// of returns the namespace's table and makes it when needed, in the place of the one that was used least
// recently.
func (c *cursorTables) of(namespace uint64) *cursorTable {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.tables[namespace]; e != nil {
		c.recent.MoveToFront(e)
		return e.Value.(*cursorTable)
	}
	if c.tables == nil {
		c.tables = make(map[uint64]*list.Element)
	}
	if len(c.tables) >= cursorTablesMax {
		last := c.recent.Back()
		delete(c.tables, c.recent.Remove(last).(*cursorTable).namespace)
	}
	t := &cursorTable{namespace: namespace, salt: rand.Uint64N(cursorSaltMax) + 1, open: make(map[uint64]*list.Element)}
	c.tables[namespace] = c.recent.PushFront(t)
	return t
}

// cursorTable holds the scans of one namespace. Fresh cursors wait to be continued; used ones go first when
// room is needed.
type cursorTable struct {
	namespace uint64
	salt      uint64

	mu          sync.Mutex
	seq         uint32
	open        map[uint64]*list.Element
	fresh, used list.List // of *cursor, the oldest in front
	bytes       int
}

type cursor struct {
	number uint64
	used   bool
	position
}

// add remembers a position and returns its number.
func (t *cursorTable) add(p position) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seq++
	number := t.salt<<cursorSeqBits | uint64(t.seq)
	t.drop(t.open[number]) // the sequence has come round
	t.open[number] = t.fresh.PushBack(&cursor{number: number, position: p})
	t.bytes += len(p.last)
	for len(t.open) > cursorsMax || t.bytes > cursorBytesMax && len(t.open) > 1 {
		oldest := t.used.Front()
		if oldest == nil {
			oldest = t.fresh.Front()
		}
		t.drop(oldest)
	}
	return number
}

// find returns the position of a number, which must be one of this scan.
func (t *cursorTable) find(number uint64, kind scanKind, db int, key uint64) (position, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.open[number]
	if e == nil {
		return position{}, false
	}
	c := e.Value.(*cursor)
	if c.kind != kind || c.db != db || c.key != key {
		return position{}, false
	}
	if !c.used {
		t.fresh.Remove(e)
		c.used = true
		t.open[number] = t.used.PushBack(c)
		if t.used.Len() > cursorsUsedMax {
			t.drop(t.used.Front())
		}
	}
	return c.position, true
}

func (t *cursorTable) drop(e *list.Element) {
	if e == nil {
		return
	}
	c := e.Value.(*cursor)
	if c.used {
		t.used.Remove(e)
	} else {
		t.fresh.Remove(e)
	}
	delete(t.open, c.number)
	t.bytes -= len(c.last)
}
