package command_test

import (
	"strings"
	"testing"

	"github.com/atolldb/atoll/datanode/command/commandtest"
	"github.com/atolldb/atoll/rpc/atollpb"
)

// TestCountIsNotedWhereItMayBe: PFCOUNT is a read for whoever may only read, and notes the count for whoever may write.
func TestCountIsNotedWhereItMayBe(t *testing.T) {
	b := commandtest.New(t)
	s, reader := b.Session(t, commandtest.AWriteSecret), b.Session(t, commandtest.AReadSecret)
	noted := func() bool {
		value := strings.TrimSuffix(b.Do(t, reader, "GET", "h"), "\r\n")
		return value[strings.Index(value, "HYLL")+15]&0x80 == 0
	}
	expect(t, b, s, "PFADD h a b c", ":1")
	expect(t, b, reader, "PFCOUNT h", ":3", "PFADD h a", "-NOPERM ")
	if got := b.Pipeline(t, reader, []string{"PFCOUNT", "h"}, []string{"GET", "none"}, []string{"PFCOUNT", "h", "h"}); got != ":3\r\n$-1\r\n:3\r\n" {
		t.Errorf("the reader's pipeline answers %q", got)
	}
	settle(t, b, func(a *atollpb.Namespace) { a.ReadOnly = true })
	expect(t, b, s, "PFCOUNT h", ":3", "PFADD h a", "-NSREADONLY ")
	settle(t, b, func(*atollpb.Namespace) {})
	b.Node.SetReplica(true)
	expect(t, b, s, "PFCOUNT h", ":3")
	b.Node.SetReplica(false)
	if noted() {
		t.Fatal("a call that may not write has noted the count")
	}
	expect(t, b, s, "PFCOUNT h h", ":3")
	if noted() {
		t.Fatal("a count of several keys is noted in one")
	}
	if got := b.Pipeline(t, s, []string{"PFCOUNT", "h"}, []string{"PFCOUNT", "h"}, []string{"GET", "none"}); got != ":3\r\n:3\r\n$-1\r\n" || !noted() {
		t.Errorf("the writer's pipeline answers %q; noted: %v", got, noted())
	}
}

// TestHLLWithinALimit: a namespace takes no more bytes than it may, however long a HyperLogLog gets by one element.
func TestHLLWithinALimit(t *testing.T) {
	b := commandtest.New(t)
	s := b.Session(t, commandtest.AWriteSecret)
	expect(t, b, s, "PFADD h a", ":1")
	bound(t, b, &atollpb.Limits{Bytes: hard(5000)})
	expect(t, b, s, "PFADD h b", "-LIMIT bytes", "PFADD n a", "-LIMIT bytes", "PFMERGE n h", "-LIMIT bytes", "PFDEBUG TODENSE h", "-LIMIT bytes", "PFCOUNT h", ":1", "PFDEBUG TODENSE none", "-ERR The specified")
	bound(t, b, &atollpb.Limits{Keys: hard(1), Bytes: hard(50_000)})
	expect(t, b, s, "PFADD h b", ":1", "PFMERGE n h", "-LIMIT keys", "PFMERGE h h n", "+OK", "PFDEBUG TODENSE h", ":1", "PFADD h c", ":1", "PFCOUNT h", ":3")
}
