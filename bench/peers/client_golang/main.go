// Go peer: a collector that creates constant metrics from values in memory, served by promhttp, as the documentation of
// client_golang recommends for values from other systems. It does not call AWS.
package main

import (
	"crypto/md5"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"sort"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

type device struct {
	user, key string
	active    float64
}

type collector struct {
	devices        []device
	timestamp, age *prometheus.Desc
}

func (c *collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- c.timestamp
	descs <- c.age
}

func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	now := float64(time.Now().UnixMilli()) / 1000
	for _, d := range c.devices {
		labels := []string{"eu-west-1_Bench0000", d.user, d.key}
		metrics <- prometheus.MustNewConstMetric(c.timestamp, prometheus.GaugeValue, d.active, labels...)
		metrics <- prometheus.MustNewConstMetric(c.age, prometheus.GaugeValue, now-d.active, labels...)
	}
}

func madeUp(users int) []device {
	devices := make([]device, 0, 2*users)
	for number := 0; number < users; number++ {
		digits := fmt.Sprintf("%x", md5.Sum([]byte(fmt.Sprint(number))))
		user := fmt.Sprintf("%x", md5.Sum([]byte(digits)))
		for place := 0; place < 2; place++ {
			devices = append(devices, device{
				user:   user,
				key:    fmt.Sprintf("eu-west-1_%s-%d", digits, place),
				active: 1.7e9 + float64(number*100),
			})
		}
	}
	// The registry sorts metrics in this order, so its sort is cheap.
	sort.Slice(devices, func(i, j int) bool {
		if devices[i].key != devices[j].key {
			return devices[i].key < devices[j].key
		}
		return devices[i].user < devices[j].user
	})
	return devices
}

func main() {
	users := flag.Int("users", 50000, "users, with two devices each")
	port := flag.Int("port", 0, "port on the loopback address")
	flag.Parse()
	labels := []string{"user_pool_id", "user", "device_key"}
	registry := prometheus.NewRegistry()
	registry.MustRegister(&collector{
		devices: madeUp(*users),
		timestamp: prometheus.NewDesc("cognito_device_last_authentication_timestamp_seconds",
			"When the device last authenticated.", labels, nil),
		age: prometheus.NewDesc("cognito_device_last_authentication_age_seconds",
			"How long ago the device last authenticated.", labels, nil),
	})
	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	log.Fatal(http.Serve(listener, nil))
}
