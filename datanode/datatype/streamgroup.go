package datatype

import (
	"encoding/binary"

	"github.com/atolldb/atoll/datanode/store"
)

// The rows of a stream's consumer groups are named so that each question is a seek, however much is pending:
//
//	1 | group's name                                    group
//	2 | group's number | 1 | consumer's name            consumer
//	2 | group's number | 2 | consumer's number          consumer's name
//	2 | group's number | 3 | entry's id                 pending: consumer's number, when and how often it was delivered
//	2 | group's number | 4 | consumer's number | id     nothing: what is pending of one consumer
//
// Numbers are 8 bytes, big endian, and never given twice within a stream or a group. Values are uvarints in the order of the fields.
const (
	groupTag    = 1
	memberTag   = 2
	consumerTag = 1
	numberTag   = 2
	pendingTag  = 3
	ownedTag    = 4

	memberPrefix = 1 + 8
	pendingName  = memberPrefix + 1 + streamIDSize
	ownedName    = memberPrefix + 1 + 8 + streamIDSize
)

// ReadUnknown is the number of entries that a group has read when that isn't known.
const ReadUnknown = -1

// Group is one consumer group of a stream: change, Save, and save the stream.
type Group struct {
	s    *Stream
	name []byte
	GroupInfo
	size      uint64 // of its row, 0 when that is to be made
	changed   bool
	consumers map[uint64]*Consumer // that were looked up, by number
}

// GroupInfo is what the row of a group says.
type GroupInfo struct {
	number    uint64
	Last      StreamID // the last entry that was delivered
	read      uint64   // Read+1
	Pending   uint64
	Consumers uint64
	next      uint64   // the number of the next consumer
	bytes     uint64   // of all rows but its own
	top       StreamID // no higher entry has been pending
}

func (g *GroupInfo) fields() [10]*uint64 {
	return [...]*uint64{&g.number, &g.Last.MS, &g.Last.Seq, &g.read, &g.Pending, &g.Consumers, &g.next, &g.bytes, &g.top.MS, &g.top.Seq}
}

// Read is how many of all entries that were ever added are up to Last, or ReadUnknown.
func (g *GroupInfo) Read() int64 { return int64(g.read) - 1 }

// SetLast moves a group to where it has read up to an entry, which is read entries from the first.
func (g *Group) SetLast(last StreamID, read int64) {
	g.Last, g.read, g.changed = last, uint64(read+1), true
}

func readGroup(b []byte) (i GroupInfo, err error) {
	f := i.fields()
	err = readNumbers(b, f[:]...)
	return i, err
}

// groupName builds the name of a group's row.
func (s *Stream) groupName(name []byte) []byte {
	s.Buf.name = append(append(s.Buf.name[:0], groupTag), name...)
	return s.Buf.name
}

// Group returns a consumer group.
func (s *Stream) Group(name []byte) (*Group, bool) {
	if s.Groups == 0 {
		return nil, false
	}
	value, ok := s.getSub(store.SubGroup, s.groupName(name))
	if !ok {
		return nil, false
	}
	return s.groupOf(name, value), true
}

func (s *Stream) groupOf(name, value []byte) *Group {
	info, err := readGroup(value)
	s.check(err)
	return &Group{s: s, name: name, GroupInfo: info, size: 1 + store.SubSize(name, value)}
}

// CreateGroup makes a group, of which there is none of that name, in a stream, which is there.
func (s *Stream) CreateGroup(name []byte, last StreamID, read int64) *Group {
	g := &Group{s: s, name: name, GroupInfo: GroupInfo{number: s.nextGroup}}
	s.nextGroup++
	s.StreamInfo.Groups++
	s.changed = true
	g.SetLast(last, read)
	return g
}

// Name is the group's.
func (g *Group) Name() []byte { return g.name }

// Save writes the group's row, and those of consumers that have changed.
func (g *Group) Save() {
	for _, c := range g.consumers {
		c.save()
	}
	if !g.changed {
		return
	}
	f := g.fields()
	g.s.Buf.edit = appendNumbers(g.s.Buf.edit[:0], f[:]...)
	name := g.s.groupName(g.name)
	g.s.putGroup(name, g.s.Buf.edit, g.size)
	g.size, g.changed = store.SubSize(name, g.s.Buf.edit), false
}

// putGroup writes a row of the groups that replaces one of old bytes.
func (s *Stream) putGroup(name, value []byte, old uint64) {
	s.putSub(store.SubGroup, name, value, old)
	s.row.Groups += store.SubSize(name, value) - old
	s.changed = true
}

// groupRows is up to how many consumers or pending entries are removed one by one. A range costs every later read of the run.
const groupRows = 32

// Destroy removes a group in constant time.
func (s *Stream) Destroy(g *Group) {
	s.deleteSub(store.SubGroup, s.groupName(g.name), g.size)
	switch {
	case g.bytes == 0:
	case g.GroupInfo.Pending == 0 && g.next <= groupRows:
		g.removeConsumers()
	default:
		s.Buf.from = appendMember(s.Buf.from[:0], g.number, 0)
		s.Buf.to = appendMember(s.Buf.to[:0], g.number, 0xff)
		s.Tx.DeleteSubs(s.DB, s.key, s.row.Version, store.SubGroup, s.Buf.from, s.Buf.to)
	}
	s.row.Bytes -= g.bytes
	s.row.Groups -= g.bytes + g.size
	s.StreamInfo.Groups--
	s.changed = true
}

// removeConsumers removes the rows of all consumers of a group that goes. It finds them by their numbers: a walk would look at all
// that the run has written.
func (g *Group) removeConsumers() {
	s := g.s
	for n := range g.next {
		number := binary.BigEndian.AppendUint64(g.rowName(numberTag), n)
		name, ok := s.getSub(store.SubGroup, number)
		if !ok {
			continue
		}
		s.Tx.DeleteSub(s.DB, s.key, s.row.Version, store.SubGroup, number)
		s.Tx.DeleteSub(s.DB, s.key, s.row.Version, store.SubGroup, append(g.rowName(consumerTag), name...))
	}
}

// EachGroup calls fn for each group in the order of the names, until it returns false.
func (s *Stream) EachGroup(fn func(g *Group) bool) {
	if s.StreamInfo.Groups == 0 {
		return
	}
	for name, value := range s.Tx.Subs(s.DB, s.key, s.row.Version, store.SubGroup, store.Bounds{From: []byte{groupTag}, To: []byte{groupTag + 1}}) {
		if !fn(s.groupOf(name[1:], value)) {
			return
		}
	}
}

// appendMember starts the name of one of a group's rows.
func appendMember(dst []byte, group uint64, tag byte) []byte {
	return append(binary.BigEndian.AppendUint64(append(dst, memberTag), group), tag)
}

func (g *Group) rowName(tag byte) []byte {
	return appendMember(g.s.Buf.name[:0], g.number, tag)
}

// put writes one of the group's rows, which replaces one of old bytes.
func (g *Group) put(name, value []byte, old uint64) {
	g.s.Buf.name = name
	g.s.putGroup(name, value, old)
	g.bytes += store.SubSize(name, value) - old
	g.changed = true
}

// remove removes one of the group's rows.
func (g *Group) remove(name []byte, size uint64) {
	g.s.Buf.name = name
	g.s.deleteSub(store.SubGroup, name, size)
	g.s.row.Groups -= size
	g.bytes -= size
	g.changed = true
}

// Consumer is one consumer of a group; Group.Save writes what has changed.
type Consumer struct {
	g    *Group
	Name []byte
	ConsumerInfo
	size    uint64
	changed bool
}

// ConsumerInfo is what the row of a consumer says.
type ConsumerInfo struct {
	number  uint64
	Pending uint64
	SeenMS  uint64 // when it last asked for anything
	active  uint64 // ActiveMS+1
}

func (c *ConsumerInfo) fields() [4]*uint64 {
	return [...]*uint64{&c.number, &c.Pending, &c.SeenMS, &c.active}
}

func readConsumer(b []byte) (i ConsumerInfo, err error) {
	f := i.fields()
	err = readNumbers(b, f[:]...)
	return i, err
}

// ActiveMS is when the consumer last got anything, -1 if never.
func (c *ConsumerInfo) ActiveMS() int64 { return int64(c.active) - 1 }

// Seen notes that the consumer has asked for something.
func (c *Consumer) Seen() {
	c.SeenMS, c.changed = uint64(max(c.g.s.Tx.Now(), 0)), true
}

// Active notes that the consumer has got something.
func (c *Consumer) Active() {
	c.active, c.changed = uint64(max(c.g.s.Tx.Now(), 0))+1, true
}

// Consumer returns a consumer.
func (g *Group) Consumer(name []byte) (*Consumer, bool) {
	value, ok := g.s.getSub(store.SubGroup, append(g.rowName(consumerTag), name...))
	if !ok || g.Consumers == 0 {
		return nil, false
	}
	return g.consumerOf(name, value), true
}

// consumerOf returns what a row says, or the consumer that the command knows already.
func (g *Group) consumerOf(name, value []byte) *Consumer {
	info, err := readConsumer(value)
	g.s.check(err)
	if c := g.consumers[info.number]; c != nil {
		return c
	}
	c := &Consumer{g: g, Name: name, ConsumerInfo: info, size: memberPrefix + 1 + store.SubSize(name, value)}
	g.know(c)
	return c
}

func (g *Group) know(c *Consumer) {
	if g.consumers == nil {
		g.consumers = make(map[uint64]*Consumer)
	}
	g.consumers[c.number] = c
}

// owner returns the consumer of a number that a pending entry has.
func (g *Group) owner(number uint64) *Consumer {
	if c := g.consumers[number]; c != nil {
		return c
	}
	name, ok := g.s.getSub(store.SubGroup, binary.BigEndian.AppendUint64(g.rowName(numberTag), number))
	if !ok {
		g.s.check(errCorrupt)
	}
	value, ok := g.s.getSub(store.SubGroup, append(g.rowName(consumerTag), name...))
	if !ok {
		g.s.check(errCorrupt)
	}
	return g.consumerOf(name, value)
}

// CreateConsumer makes a consumer, of which there is none of that name.
func (g *Group) CreateConsumer(name []byte) *Consumer {
	c := &Consumer{g: g, Name: name, ConsumerInfo: ConsumerInfo{number: g.next}}
	g.next++
	g.GroupInfo.Consumers++
	g.put(binary.BigEndian.AppendUint64(g.rowName(numberTag), c.number), name, 0)
	g.know(c)
	c.Seen()
	return c
}

func (c *Consumer) save() {
	if !c.changed {
		return
	}
	f := c.fields()
	c.g.s.Buf.edit = appendNumbers(c.g.s.Buf.edit[:0], f[:]...)
	name := append(c.g.rowName(consumerTag), c.Name...)
	c.g.put(name, c.g.s.Buf.edit, c.size)
	c.size, c.changed = store.SubSize(name, c.g.s.Buf.edit), false
}

// DeleteConsumer removes a consumer and what is pending of it: one row for each entry, and the rest as a range if it is much.
// If that is more than one run may write, nothing has changed, and the error is store.ErrTooLarge.
func (g *Group) DeleteConsumer(c *Consumer) error {
	if err := g.s.room(c.Pending, 1); err != nil {
		return err
	}
	few := c.Pending <= groupRows
	c.Each(StreamID{}, func(id StreamID) bool {
		p, ok := g.Get(id)
		if !ok {
			g.s.check(errCorrupt)
		}
		g.remove(g.pendingName(id), p.size)
		if few {
			g.remove(g.ownedName(c.number, id), ownedName)
		} else {
			g.bytes -= ownedName
			g.s.row.Bytes -= ownedName
			g.s.row.Groups -= ownedName
		}
		g.GroupInfo.Pending--
		return true
	})
	if !few {
		s := g.s
		s.Buf.from = binary.BigEndian.AppendUint64(appendMember(s.Buf.from[:0], g.number, ownedTag), c.number)
		s.Buf.to = append(append(s.Buf.to[:0], s.Buf.from...), MaxStreamID.appendName(nil)...)
		s.Buf.to = append(s.Buf.to, 0)
		s.Tx.DeleteSubs(s.DB, s.key, s.row.Version, store.SubGroup, s.Buf.from, s.Buf.to)
	}
	number := binary.BigEndian.AppendUint64(g.rowName(numberTag), c.number)
	g.remove(number, store.SubSize(number, c.Name))
	if c.size > 0 {
		g.remove(append(g.rowName(consumerTag), c.Name...), c.size)
	}
	delete(g.consumers, c.number)
	g.GroupInfo.Consumers--
	g.changed = true
	return nil
}

// EachConsumer calls fn for each consumer in the order of the names, until it returns false. It is good for one call.
func (g *Group) EachConsumer(fn func(c *Consumer) bool) {
	if g.Consumers == 0 {
		return
	}
	b := store.Bounds{From: appendMember(nil, g.number, consumerTag), To: appendMember(nil, g.number, consumerTag+1)}
	for name, value := range g.s.Tx.Subs(g.s.DB, g.s.key, g.s.row.Version, store.SubGroup, b) {
		info, err := readConsumer(value)
		g.s.check(err)
		if !fn(&Consumer{g: g, Name: name[memberPrefix+1:], ConsumerInfo: info}) {
			return
		}
	}
}
