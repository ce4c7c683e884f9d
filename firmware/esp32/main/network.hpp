#pragma once
// Wi-Fi and the clock: joining, and being told which network to join.

#include "../../core/text.hpp"

namespace muster {

/** A Wi-Fi that is known beforehand. Both end with a zero; without a password the network is open. */
struct WifiAccount {
  const char* ssid = nullptr;
  const char* password = nullptr;
};

/**
 * Joins the Wi-Fi, and again whenever it is lost. Where none is known, neither from the account nor from an earlier
 * provisioning, the board is a Wi-Fi of its own until somebody has said which one to join: then this blocks.
 * `onProvisioning` is called before it does. Answers once; what cannot be set up restarts the board.
 */
void joinWifi(const WifiAccount& account, void (*onProvisioning)());
/** Sets the clock from the network, now and again. The name ends with a zero and has to stay. */
void keepClock(const char* timeServer);
/** Writes the address that the board has in the Wi-Fi; an empty text before it has one. */
void writeAddress(char (&text)[16]);
/** Forgets what provisioning has said. */
void forgetWifi();

}  // namespace muster
