// The key vault: holds the sealing key and the verdict key. The application reads them as Key Vault references, never from a parameter.

param name string
param location string
param tags object

@secure()
@description('32 random bytes in base64url. Empty: the key that is there already stays.')
param sealingKey string

@secure()
@description('32 random bytes in base64url, which the scanner holds too. Empty: the key that is there already stays.')
param verdictKey string

var sealingKeySecret = 'sealing-key'
var verdictKeySecret = 'verdict-key'

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: tenant().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    enablePurgeProtection: true
  }
}

resource secret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(sealingKey)) {
  parent: vault
  name: sealingKeySecret
  properties: {
    value: sealingKey
    contentType: '32 random bytes in base64url'
  }
}

resource verdictSecret 'Microsoft.KeyVault/vaults/secrets@2023-07-01' = if (!empty(verdictKey)) {
  parent: vault
  name: verdictKeySecret
  properties: {
    value: verdictKey
    contentType: '32 random bytes in base64url'
  }
}

output name string = vault.name
output sealingKeyName string = sealingKeySecret
output verdictKeyName string = verdictKeySecret
// Without a version: a new key is taken up by itself, within a day or at the next restart.
output sealingKeyUri string = '${vault.properties.vaultUri}secrets/${sealingKeySecret}'
output verdictKeyUri string = '${vault.properties.vaultUri}secrets/${verdictKeySecret}'
