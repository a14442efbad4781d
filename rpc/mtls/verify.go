package mtls

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Verify checks the directory of a stopped process's identity, and changes nothing. What is wrong is handed to say with
// its file. An error is one of the check itself.
func Verify(dir, nodeID string, say func(file, what string)) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the directory of the node's certificate: %w", err)
	}
	i := &Identity{dir: dir}
	data, err := os.ReadFile(filepath.Join(dir, keyFile))
	if err == nil {
		i.key, err = parseKey(data)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		say(filepath.Join(dir, keyFile), err.Error())
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch strings.TrimSuffix(e.Name(), ".tmp") {
		case keyFile:
		case certFile:
			if e.Name() == certFile && i.key != nil {
				i.verifyCert(path, nodeID, say)
			}
		case authFile:
			if _, err := i.KeptAuthority(); e.Name() == authFile && err != nil {
				say(path, err.Error())
			}
		default:
			say(path, "it belongs to nothing")
		}
	}
	return nil
}

func (i *Identity) verifyCert(path, nodeID string, say func(file, what string)) {
	data, err := os.ReadFile(path)
	if err != nil {
		say(path, err.Error())
		return
	}
	m, err := i.parse(data)
	switch {
	case err != nil:
		say(path, err.Error())
	case m.peer.NodeID != nodeID:
		say(path, fmt.Sprintf("it is of node %q, and the directory of node %q", m.peer.NodeID, nodeID))
	}
}
