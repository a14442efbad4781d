package resp

import (
	"strings"
	"testing"
	"time"

	"github.com/atolldb/atoll/datanode/command/commandtest"
)

// TestConfigSetOfTheEdge: what an admin sets holds for the connections that there are, and for those that come.
func TestConfigSetOfTheEdge(t *testing.T) {
	r := start(t, false, Limits{MaxClients: 1, ClientsMost: 3, MemoryBytes: 64 << 20})
	admin := r.as(t, commandtest.AdminSecret)
	set := func(line, want string) {
		t.Helper()
		if got := admin.say("CONFIG SET "+line+"\r\n", 1); got != want+"\r\n" {
			t.Errorf("CONFIG SET %s answered %q", line, got)
		}
	}
	const failed = "-ERR CONFIG SET failed (possibly related to argument '"
	if got := r.dial(t).ends(); got != "-ERR max number of clients reached\r\n" {
		t.Fatalf("got %q", got)
	}
	set("maxclients 4", failed+"maxclients') - The operating system is not able to handle the specified number of clients, try with 3")
	set("maxclients 3 maxmemory-clients 65mb", failed+"maxmemory-clients') - argument must be between 16777216 and 67108864 inclusive")
	set("maxclients 3 maxmemory-clients 50%", failed+"maxmemory-clients') - there is no maxmemory that a percentage could be of")
	if got := r.dial(t).ends(); got != "-ERR max number of clients reached\r\n" {
		t.Fatalf("got %q: a part of what was refused holds", got)
	}
	set("maxclients 3", "+OK")
	tenant := r.as(t, commandtest.AWriteSecret)
	if got := tenant.say("CONFIG SET timeout 1\r\n", 1); !strings.HasPrefix(got, "-ERR admin permission") {
		t.Errorf("a tenant's CONFIG SET answered %q", got)
	}
	tenant.part(20<<20, 20<<20-10)
	r.holding(t, func(total, _ int) bool { return total > 19<<20 })
	set("maxmemory-clients 16mb", "+OK")
	r.as(t, commandtest.BWriteSecret).part(100<<10, 100<<10-10) // the bound is looked at when something grows
	tenant.ends()
	for deadline := time.Now().Add(5 * time.Second); len(r.server.list()) > 2; time.Sleep(time.Millisecond) { // nor may what it held be another's fault
		if time.Now().After(deadline) {
			t.Fatal("the connection that was cut is still there")
		}
	}
	quiet := r.as(t, commandtest.AWriteSecret)
	set("timeout 10", "+OK")
	for _, c := range r.server.list() {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) { // some may not be done with their last batch
			got := c.overdue(r.Node.Views.Current(), time.Now().Add(20*time.Second))
			if got == "idle" {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("in 20 s: %q", got)
			}
		}
	}
	set("timeout 60", "+OK")
	if got := quiet.say("PING\r\n", 1); got != "+PONG\r\n" {
		t.Errorf("got %q", got)
	}
}
