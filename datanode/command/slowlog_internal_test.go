package command

import (
	"fmt"
	"strings"
	"testing"
)

// TestSlowLogsOfAllAreBounded: of namespaces and of bytes, whatever slowlog-max-len is; nobody's log pushes out another's.
func TestSlowLogsOfAllAreBounded(t *testing.T) {
	var l slowLogs
	l.add(7, slowEntry{args: []string{"mine"}}, 128)
	for i := range slowNamespacesMax - 1 {
		l.add(uint64(100+i), slowEntry{}, 128)
	}
	text := strings.Repeat("x", 1<<20)
	for range slowBytesMax>>20 + 10 {
		l.add(100, slowEntry{args: []string{text}}, 1<<62)
	}
	if l.bytes > slowBytesMax || l.count(7) != 1 || len(l.rings) != slowNamespacesMax {
		t.Errorf("%d bytes of %d namespaces, %d of the quiet one's", l.bytes, len(l.rings), l.count(7))
	}
	l.add(8, slowEntry{}, 128) // 7 has had none for longest
	if l.count(7) != 0 || l.count(8) != 1 || len(l.rings) != slowNamespacesMax {
		t.Errorf("%d namespaces, %d of the oldest's", len(l.rings), l.count(7))
	}
	l.reset(operators)
	if l.bytes != 0 || l.count(operators) != 0 {
		t.Errorf("%d bytes, and %d entries, are left", l.bytes, l.count(operators))
	}
}

// TestSlowLogList: the newest of all logs, in order.
func TestSlowLogList(t *testing.T) {
	var l slowLogs
	for i := range 12 {
		l.add(uint64(1+i%3), slowEntry{args: []string{fmt.Sprint(i)}}, 128)
	}
	for _, tt := range []struct {
		part  uint64
		count int64
		want  string
	}{{operators, 5, "[11 10 9 8 7]"}, {operators, 0, "[]"}, {operators, 100, "[11 10 9 8 7 6 5 4 3 2 1 0]"}, {2, -1, "[10 7 4 1]"}, {2, 2, "[10 7]"}, {9, -1, "[]"}} {
		got := []string{}
		for _, e := range l.list(tt.part, tt.count) {
			got = append(got, e.args[0])
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%d of %d are %v, want %s", tt.count, tt.part, got, tt.want)
		}
	}
	if l.count(operators) != 12 || l.count(1) != 4 || l.count(9) != 0 {
		t.Errorf("%d, %d and %d entries", l.count(operators), l.count(1), l.count(9))
	}
}
