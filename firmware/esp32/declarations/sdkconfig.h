#pragma once
// What `idf.py menuconfig` writes; here with the defaults of main/Kconfig.projbuild. check.sh sets the target and the
// version of MQTT.
#ifndef CONFIG_MUSTER_BATTERY_GPIO
#define CONFIG_MUSTER_BATTERY_GPIO (-1)
#endif
#define CONFIG_MUSTER_BATTERY_DIVIDER_PERCENT 200
#define CONFIG_MUSTER_LED_GPIO 2
#if CONFIG_IDF_TARGET_ESP32C3
#define CONFIG_MUSTER_BUTTON_GPIO 9
#else
#define CONFIG_MUSTER_BUTTON_GPIO 0
#endif
#define CONFIG_LWIP_SNTP_MAX_SERVERS 1
#if CONFIG_MUSTER_MQTT_5
#define CONFIG_MQTT_PROTOCOL_5 1
#endif
