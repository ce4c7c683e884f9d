#pragma once
/*
 * muster-device.wasm: many devices in one instance of WebAssembly, each the core and a node as a board gets them.
 *
 * A handle stands for a device. Every export but the first three takes it first, and so does every import, so that the
 * host knows whose call it is. Texts are UTF-8 in linear memory: those of the host are written to the scratch buffer,
 * one behind the other, and their lengths are given; those of the device are the host's only while it is called. Memory
 * may grow in muster_create: look at the buffer of the memory again after it. An import must neither call an export nor
 * write to scratch.
 *
 * Exports
 * - muster_scratch() -> address, muster_scratch_size() -> bytes
 * - muster_device_bytes() -> memory of one device
 * - muster_create(node, id_length, room_length) -> handle, or 0: id and room in scratch; node 0 dht22, 1 motion,
 *   2 light, 3 motion_light. The same handle comes again after muster_destroy.
 * - muster_configure(handle, length) -> Fault: defaults as {"heartbeat":60} in scratch, before muster_begin
 * - muster_begin(handle) -> Fault: 0 none, 1 bad id, 2 bad room, 3 bad settings
 * - muster_tick(handle) -> milliseconds until it wants to be called again at the latest (unsigned); call it too after
 *   each of the events below
 * - muster_on_connected(handle)
 * - muster_on_disconnected(handle, LostReason: 0 network, 1 refused, 2 taken over, 3 unreached)
 * - muster_on_acknowledged(handle, token, reason_code)
 * - muster_on_message(handle, topic_length, payload_length, is_retained): both in scratch
 * - muster_shutdown(handle, Goodbye: 0 shutdown, 1 sleep, 2 update, wake_in_seconds)
 * - muster_phase(handle) -> 0 off, 1 waiting, 2 connecting, 3 online, 4 leaving
 * - muster_destroy(handle): as a loss of power; nothing is sent
 *
 * Imports, all of module "host": transport.hpp and board.hpp say what each is to do.
 *   A device is off after power_down and restart: the host destroys it, and makes a new one when it is to start.
 */

#include <stdint.h>

#define MUSTER_IMPORT(name) __attribute__((import_module("host"), import_name(#name))) extern
#define MUSTER_EXPORT(name) __attribute__((export_name(#name)))

extern "C" {
MUSTER_IMPORT(connect)
void host_connect(uint32_t handle, const char* id, uint32_t id_length, const char* will_topic,
                  uint32_t will_topic_length, const char* will, uint32_t will_length, uint32_t keep_alive_seconds,
                  uint32_t session_expiry_seconds);
/* A token, or 0 when the message cannot be taken now. */
MUSTER_IMPORT(publish)
uint32_t host_publish(uint32_t handle, const char* topic, uint32_t topic_length, const char* payload,
                      uint32_t payload_length, uint32_t qos, uint32_t is_retained, uint32_t expiry_seconds);
MUSTER_IMPORT(subscribe)
void host_subscribe(uint32_t handle, const char* filter, uint32_t length, uint32_t qos);
MUSTER_IMPORT(disconnect)
void host_disconnect(uint32_t handle, uint32_t reason_code);
MUSTER_IMPORT(millis)
uint32_t host_millis(uint32_t handle);
/* Milliseconds since 1970, or 0 without a clock; a double, which JavaScript has. */
MUSTER_IMPORT(epoch_ms)
double host_epoch_ms(uint32_t handle);
MUSTER_IMPORT(random)
uint32_t host_random(uint32_t handle);
/* ResetReason: 0 power, 1 software, 2 watchdog, 3 brownout, 4 sleep, 5 unknown. */
MUSTER_IMPORT(reset_reason)
uint32_t host_reset_reason(uint32_t handle);
/* Temperature and humidity in tenths as two int32_t; 0 when the sensor does not answer. */
MUSTER_IMPORT(read_climate)
uint32_t host_read_climate(uint32_t handle, uint32_t pin, int32_t* climate);
/* 1 when the host calls muster_tick at each change of the pin. */
MUSTER_IMPORT(watch_pin)
uint32_t host_watch_pin(uint32_t handle, uint32_t pin);
MUSTER_IMPORT(read_pin)
uint32_t host_read_pin(uint32_t handle, uint32_t pin);
MUSTER_IMPORT(write_duty)
void host_write_duty(uint32_t handle, uint32_t pin, uint32_t percent);
MUSTER_IMPORT(battery_millivolts)
int32_t host_battery_millivolts(uint32_t handle);
/* Bytes read, at most `capacity`. */
MUSTER_IMPORT(read_flash)
uint32_t host_read_flash(uint32_t handle, const char* key, uint32_t key_length, void* value, uint32_t capacity);
MUSTER_IMPORT(write_flash)
uint32_t host_write_flash(uint32_t handle, const char* key, uint32_t key_length, const void* value, uint32_t size);
MUSTER_IMPORT(power_down)
void host_power_down(uint32_t handle, uint32_t wake_in_seconds);
MUSTER_IMPORT(restart)
void host_restart(uint32_t handle);
MUSTER_IMPORT(log)
void host_log(uint32_t handle, const char* line, uint32_t length);
}
