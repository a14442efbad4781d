// Package atomicfile replaces the small files that say who a process is.
package atomicfile

import (
	"errors"
	"os"
	"path/filepath"
)

// Write replaces a file, readable by its owner only, so that a crash at any step leaves the old or the new content. When
// it returns nil the new one is durable. One caller at a time may write a path.
func Write(path string, data []byte) error {
	temp := path + ".tmp"
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o600), f.Sync(), f.Close()) // a file left by a crash keeps its mode
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
