// The function app on Elastic Premium: for clouds without Flex Consumption. It runs straight from a package in blob storage, so
// that no Azure Files share is needed: such a share would need the storage account's key, which is off.

param planName string
param appName string
param location string
param tags object
param identityId string

@minValue(1)
@maxValue(100)
param maximumInstanceCount int

resource plan 'Microsoft.Web/serverfarms@2024-04-01' = {
  name: planName
  location: location
  tags: tags
  kind: 'elastic'
  sku: {
    tier: 'ElasticPremium'
    name: 'EP1'
  }
  properties: {
    reserved: true
    maximumElasticWorkerCount: maximumInstanceCount
  }
}

resource app 'Microsoft.Web/sites@2024-04-01' = {
  name: appName
  location: location
  tags: tags
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    keyVaultReferenceIdentity: identityId
    siteConfig: {
      linuxFxVersion: 'Python|3.13'
      minTlsVersion: '1.2'
      ftpsState: 'Disabled'
    }
  }
}

// Publishing passwords are off: deployments sign in with Microsoft Entra.
resource publishing 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01' = [
  for endpoint in ['scm', 'ftp']: {
    parent: app
    name: endpoint
    properties: {
      allow: false
    }
  }
]
