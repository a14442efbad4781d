package loadgen

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// sameHost says whether the server runs on this machine, so that its process can be looked at.
func (l *Load) sameHost() bool {
	host, _, err := net.SplitHostPort(l.Addr)
	return err != nil || host == "localhost" || net.ParseIP(host).IsLoopback()
}

// serverPID asks the server for its process; 0 if it doesn't say, or speaks of the first one of a container.
func (l *Load) serverPID(ctx context.Context) int {
	if !l.sameHost() {
		return 0
	}
	nc, err := l.open(ctx)
	if err != nil {
		return 0
	}
	defer nc.Close()
	reply, err := call(ctx, nc, "INFO", "server")
	if err != nil {
		return 0
	}
	for line := range strings.SplitSeq(reply, "\r\n") {
		if v, ok := strings.CutPrefix(line, "process_id:"); ok && v != "1" {
			pid, _ := strconv.Atoi(v)
			return pid
		}
	}
	return 0
}

// clockTick is USER_HZ, the unit of /proc's times: 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// processCPU returns the processor time that a process has used, in user and kernel mode.
func processCPU(pid int) (time.Duration, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil || pid <= 0 {
		return 0, false
	}
	// The name, in brackets, may have spaces; utime and stime are the 12th and 13th field behind it.
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) < 13 {
		return 0, false
	}
	user, err1 := strconv.Atoi(string(fields[11]))
	system, err2 := strconv.Atoi(string(fields[12]))
	return time.Duration(user+system) * clockTick, err1 == nil && err2 == nil
}
